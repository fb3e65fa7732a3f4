//! Who calls, and what they may do.
//!
//! A handler gets its [`Caller`] from the extractor [`Authorised`], which names the scope that the route needs; handlers
//! find a client's data by the caller's id. The compiler does not see a route that forgot its extractor. A test asks every
//! route whose documentation names a scope, without a key and with a wrong one.

mod authenticate;
mod cache;
mod key;
mod scope;

pub use authenticate::{Authenticator, KeyDirectory, StoredKey};
pub use cache::VerifiedKeys;
pub use key::{MalformedKey, PresentedKey};
pub use scope::{CallbacksWrite, JobsRead, JobsWrite, Scope, ScopeName, UploadsWrite, UsersWrite};

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::problem::Problem;
use crate::state::AppState;

/// A client that proved who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The client.
    pub client_id: String,
    /// The key it used.
    pub key_id: String,
    /// What it may do.
    pub scopes: Vec<ScopeName>,
}

impl Caller {
    /// Whether the client has the scope, or is an administrator.
    pub fn may(&self, scope: ScopeName) -> bool {
        self.scopes
            .iter()
            .any(|held| *held == scope || *held == ScopeName::Admin)
    }
}

/// The caller of a route that needs the scope `S`.
#[derive(Debug)]
pub struct Authorised<S: Scope> {
    caller: Arc<Caller>,
    scope: PhantomData<S>,
}

impl<S: Scope> Authorised<S> {
    /// The caller, to take along into a task.
    pub fn into_caller(self) -> Arc<Caller> {
        self.caller
    }
}

impl<S: Scope> Deref for Authorised<S> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<S: Scope> FromRequestParts<AppState> for Authorised<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let header = parts
            .headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let key = header
            .and_then(|value| PresentedKey::from_authorization(value).ok())
            .ok_or(Problem::Unauthenticated)?;
        let caller = state.authenticator.authenticate(key).await?;
        tracing::Span::current().record("client_id", &caller.client_id);
        if !caller.may(S::NAME) {
            tracing::info!(client_id = caller.client_id, key_id = caller.key_id, scope = %S::NAME, "scope missing");
            return Err(Problem::ScopeMissing(S::NAME));
        }
        Ok(Self {
            caller,
            scope: PhantomData,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_may_do_everything_and_others_what_they_hold() {
        let caller = |scopes: &[ScopeName]| Caller {
            client_id: "c".to_owned(),
            key_id: "k".to_owned(),
            scopes: scopes.to_vec(),
        };
        for scope in ScopeName::ALL {
            assert!(caller(&[ScopeName::Admin]).may(scope));
            assert!(caller(&[scope]).may(scope));
            assert!(!caller(&[]).may(scope));
        }
        assert!(!caller(&[ScopeName::JobsRead]).may(ScopeName::JobsWrite));
    }
}
