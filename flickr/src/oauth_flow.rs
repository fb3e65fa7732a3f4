//! How a user authorizes the application: Flickr document `auth.oauth`, RFC 5849 section 2.
//!
//! 1. [`FlickrClient::request_token`] announces the callback.
//! 2. The user's browser goes to [`FlickrClient::authorize_url`], and comes back to the callback with
//!    `oauth_token` and `oauth_verifier`.
//! 3. [`FlickrClient::access_token`] trades the verifier for a token that lasts.

use http::{Method as HttpMethod, header::CONTENT_LENGTH};
use url::Url;

use crate::{
    answer,
    client::FlickrClient,
    credentials::{AppCredentials, UserToken},
    error::{Failure, FlickrError},
    exchange::exchange,
    method::Permission,
    operation::Operation,
    trace::TraceHeaders,
};

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
