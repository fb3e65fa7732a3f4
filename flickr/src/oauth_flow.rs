//! How a user authorizes the application: Flickr document `auth.oauth`, RFC 5849 section 2.
//!
//! 1. [`FlickrClient::request_token`] announces the callback.
//! 2. The user's browser goes to [`FlickrClient::authorize_url`], and comes back to the callback with
//!    `oauth_token` and `oauth_verifier`.
//! 3. [`FlickrClient::access_token`] trades the verifier for a token that lasts.
//! 4. [`FlickrClient::check_token`] tells what the token allows: the permission stands in the address of step 2, where
//!    the user can change it, and in no answer of step 3.

use http::{Method as HttpMethod, header::CONTENT_LENGTH};
use serde_json::Value;
use url::Url;

use crate::{
    answer,
    client::FlickrClient,
    credentials::{AppCredentials, UserToken},
    error::{Failure, FlickrError},
    exchange::exchange,
    method::{Method, Permission},
    operation::Operation,
    trace::TraceHeaders,
};

const CHECK_TOKEN: &str = "flickr.auth.oauth.checkToken";

/// A request token: good for one authorization, and for some hours.
#[derive(Debug, Clone)]
pub struct RequestToken(pub UserToken);

/// What a user has granted: a token, and who the user is.
#[derive(Debug, Clone)]
pub struct AccessGrant {
    /// The token. It lasts until the user revokes it.
    pub token: UserToken,
    /// Flickr's id of the user, such as `12037949754@N01`.
    pub user_nsid: String,
    /// The screen name. Users can change it.
    pub username: String,
    /// The real name; empty if the user gave none.
    pub fullname: String,
}

/// What Flickr says about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// What it allows.
    pub permission: Permission,
    /// Flickr's id of the user whose it is.
    pub user_nsid: String,
}

impl FlickrClient {
    /// Asks for a request token. `callback` is where Flickr sends the user's browser afterwards, or
    /// `oob` to show the verifier to the user instead.
    ///
    /// # Errors
    /// [`Failure::OAuth`] for unknown credentials; whatever else Flickr or the network says.
    pub async fn request_token(
        &self,
        app: &AppCredentials,
        callback: &str,
        trace: &TraceHeaders,
    ) -> Result<RequestToken, FlickrError> {
        let url = &self.endpoints.request_token;
        let protocol = [("oauth_callback", callback)];
        let names = ["oauth_token", "oauth_token_secret", "oauth_callback_confirmed"];
        let [token, secret, confirmed] = self
            .oauth_step(url, &protocol, app, None, names, trace)
            .await
            .map_err(|failure| FlickrError::new(Operation::RequestToken, failure))?;
        // Without the confirmation the server speaks the OAuth 1.0 that session fixation broke.
        if confirmed != "true" {
            let failure = Failure::Malformed {
                expected: "confirmed callback",
            };
            return Err(FlickrError::new(Operation::RequestToken, failure));
        }
        Ok(RequestToken(UserToken::new(token, secret)))
    }

    /// The page on which the user grants `permission`. `oauth_token` is the request token's public
    /// part.
    pub fn authorize_url(&self, oauth_token: &str, permission: Permission) -> Url {
        let mut url = self.endpoints.authorize.clone();
        url.query_pairs_mut()
            .append_pair("oauth_token", oauth_token)
            .append_pair("perms", permission.as_str());
        url
    }

    /// Trades a request token and the `verifier` for an access token. Works once.
    ///
    /// # Errors
    /// [`Failure::OAuth`] for a wrong or used token or verifier; whatever else Flickr or the network
    /// says. When the outcome is unknown the request token is spent: begin anew.
    pub async fn access_token(
        &self,
        app: &AppCredentials,
        request_token: &RequestToken,
        verifier: &str,
        trace: &TraceHeaders,
    ) -> Result<AccessGrant, FlickrError> {
        let url = &self.endpoints.access_token;
        let protocol = [("oauth_verifier", verifier)];
        let names = [
            "oauth_token",
            "oauth_token_secret",
            "user_nsid",
            "username",
            "fullname",
        ];
        let [token, secret, user_nsid, username, fullname] = self
            .oauth_step(url, &protocol, app, Some(&request_token.0), names, trace)
            .await
            .map_err(|failure| FlickrError::new(Operation::AccessToken, failure))?;
        Ok(AccessGrant {
            token: UserToken::new(token, secret),
            user_nsid,
            username,
            fullname,
        })
    }

    /// Asks what a token allows and whose it is. Asking again does no harm.
    ///
    /// # Errors
    /// [`Failure::OAuth`] or [`Failure::Api`] for a token that does not work; [`Failure::Malformed`] for a permission
    /// that this crate does not know; whatever else Flickr or the network says.
    pub async fn check_token(
        &self,
        app: &AppCredentials,
        token: &UserToken,
        trace: &TraceHeaders,
    ) -> Result<TokenInfo, FlickrError> {
        let Some(method) = Method::lookup(CHECK_TOKEN) else {
            unreachable!("the table has {CHECK_TOKEN}, as a test ensures");
        };
        // The argument `oauth_token` is the one that the signature brings.
        let answer = self.call(app, Some(token), method, &[], trace).await?;
        token_info(&answer).ok_or_else(|| {
            let failure = Failure::Malformed {
                expected: "permission and user of a token",
            };
            FlickrError::new(Operation::Call(method), failure)
        })
    }

    async fn oauth_step<const N: usize>(
        &self,
        url: &Url,
        protocol: &[(&str, &str)],
        app: &AppCredentials,
        token: Option<&UserToken>,
        names: [&str; N],
        trace: &TraceHeaders,
    ) -> Result<[String; N], Failure> {
        let request = self
            .signed(&HttpMethod::POST, url, &[], protocol, app, token, trace)?
            // RFC 9110 section 8.6 wants the length of an empty POST told, and proxies answer 411
            // without; the HTTP client leaves it out.
            .header(CONTENT_LENGTH, "0")
            .timeout(self.timeouts.call);
        answer::form(exchange(request, || true).await?.raw(), names)
    }
}

/// The answer of `flickr.auth.oauth.checkToken`. Flickr writes the text of an element as `{"_content": …}`.
fn token_info(answer: &Value) -> Option<TokenInfo> {
    let oauth = answer.get("oauth")?;
    let permission = oauth.get("perms")?;
    let name = permission.get("_content").unwrap_or(permission).as_str()?;
    Some(TokenInfo {
        permission: Permission::from_name(name)?,
        user_nsid: oauth.pointer("/user/nsid")?.as_str()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_has_the_method_for_tokens() {
        assert!(Method::lookup(CHECK_TOKEN).is_some_and(Method::is_read));
    }

    #[test]
    fn only_an_answer_that_names_permission_and_user_is_one() {
        let user = json!({"nsid": "1121451801@N07", "username": "jamalf", "fullname": "Jamal F"});
        let info = |oauth: Value| token_info(&json!({"stat": "ok", "oauth": oauth}));
        for (perms, permission) in [
            (json!({"_content": "write"}), Some(Permission::Write)),
            (json!("read"), Some(Permission::Read)),
            (json!({"_content": "none"}), Some(Permission::None)),
            (json!({"_content": "admin"}), None),
            (json!({}), None),
            (json!(2), None),
        ] {
            let found = info(json!({"token": {"_content": "72157-1"}, "perms": perms, "user": user}));
            let expected = permission.map(|permission| TokenInfo {
                permission,
                user_nsid: "1121451801@N07".to_owned(),
            });
            assert_eq!(found, expected, "{perms}");
        }
        assert_eq!(info(json!({"perms": {"_content": "read"}})), None);
        assert_eq!(token_info(&json!({"stat": "ok"})), None);
    }
}
