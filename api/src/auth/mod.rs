//! Who calls, and what they may do.
//!
//! A handler gets its [`Caller`] from the extractor [`Authorised`], which names the scope that the route needs; handlers
//! find a client's data by the caller's id. The compiler does not see a route that forgot its extractor. A test asks every
//! route whose documentation names a scope, without a key and with a wrong one.

mod authenticate;
mod cache;
mod credential;
mod directory;
mod failures;
#[cfg(test)]
pub(crate) mod fixture;
mod key;
pub(crate) mod rate;
mod record;
mod scope;
mod secrets;
pub mod signature;

pub use authenticate::Authenticator;
pub use credential::Credential;
pub use directory::{KEPT, KeyDirectory, KeyRecords, StoredKey};
pub use flickrhub_job::scope::ScopeName;
pub use key::{MalformedKey, PresentedKey};
pub use record::AuthRecord;
pub use scope::{AuditRead, CallbacksWrite, JobsRead, JobsWrite, Scope, UploadsWrite, UsersWrite};

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use jiff::Timestamp;

use crate::address::ClientAddress;
use crate::middleware::body::HasBody;
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
        // In tests of a router alone there is no middleware around it.
        let record = parts.extensions.get::<AuthRecord>().cloned().unwrap_or_default();
        let has_body = parts.extensions.get::<HasBody>().is_some_and(|body| body.0);
        let address = parts.extensions.get::<ClientAddress>().map(|address| address.0);
        let scheme = state.config.api.public_url.scheme();
        let now = Timestamp::now().as_second();
        let credential = Credential::of(parts, has_body, scheme, now)?;
        let caller = state
            .authenticator
            .authenticate(credential, address, &record)
            .await?;
        tracing::Span::current().record("client_id", &caller.client_id);
        if !caller.may(S::NAME) {
            tracing::info!(
                event = "authorisation_failed",
                client_id = caller.client_id,
                key_id = caller.key_id,
                scope = %S::NAME,
                "scope missing"
            );
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
