//! Credentials of an application and of a user who authorized it.

use secrecy::SecretString;

/// A Flickr application's key and secret: the client credentials of RFC 5849 section 1.1.
///
/// `Debug` shows neither secret part.
#[derive(Debug, Clone)]
pub struct AppCredentials {
    /// The API key, sent as `oauth_consumer_key`. Not a secret: Flickr shows it in URLs.
    pub key: String,
    /// The shared secret. It signs and is never sent.
    pub secret: SecretString,
}

impl AppCredentials {
    /// Credentials from the key and secret that Flickr's App Garden shows.
    pub fn new(key: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self {
            key: key.into(),
            secret: secret.into(),
        }
    }
}

/// A token and its secret: token credentials or temporary credentials of RFC 5849 section 1.1.
///
/// Flickr's access tokens do not expire; they last until the user revokes them.
#[derive(Debug, Clone)]
pub struct UserToken {
    /// Sent as `oauth_token`.
    pub token: SecretString,
    /// The shared secret. It signs and is never sent.
    pub secret: SecretString,
}

impl UserToken {
    /// A token from its two parts.
    pub fn new(token: impl Into<SecretString>, secret: impl Into<SecretString>) -> Self {
        Self {
            token: token.into(),
            secret: secret.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_secret() {
        let app = AppCredentials::new("the-key", "app-hush");
        let token = UserToken::new("token-hush", "secret-hush");
        let shown = format!("{app:?} {token:?}");
        assert!(shown.contains("the-key"));
        assert!(!shown.contains("hush"), "{shown}");
    }
}
