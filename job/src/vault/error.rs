//! What can go wrong with Vault, sorted by what a caller does about it. No message of Vault's is passed on.

use vaultrs::error::ClientError;

use crate::config::ConfigError;

/// Vault could not do it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// Not reachable, sealed, without a leader, overloaded or too slow: try again later.
    #[error("Vault is not available")]
    Unavailable,
    /// The login or the policy refuses us, also after a new login.
    #[error("Vault denies access; check the auth method, the role and its policy")]
    Denied,
    /// The ciphertext is damaged, or belongs to another key or another context.
    #[error("Vault cannot decrypt the ciphertext with this key and context")]
    Ciphertext,
    /// A mount or a key that the configuration names does not exist, or Vault did not understand us.
    #[error("Vault refused with status {0}; check the names of the mounts and keys")]
    Refused(u16),
    /// The answer is no answer of Vault's.
    #[error("Vault gave an answer that cannot be read")]
    Unreadable,
    /// The file with our credential cannot be read.
    #[error(transparent)]
    Credential(#[from] ConfigError),
    /// The address or the CA certificates in the configuration do not work.
    #[error("the client of Vault cannot be built; check the address and the CA certificates")]
    Client,
}

impl VaultError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable)
    }
}

impl VaultError {
    /// What an error means for a request with a token.
    pub(super) fn of_request(error: &ClientError) -> Self {
        match error {
            ClientError::APIError { code: 403, .. } => Self::Denied,
            ClientError::APIError { code: 400, errors }
                if errors.iter().any(|text| text.contains("cipher")) =>
            {
                Self::Ciphertext
            }
            error => Self::of_any(error),
        }
    }

    /// What an error means for a login.
    pub(super) fn of_login(error: &ClientError) -> Self {
        match error {
            ClientError::APIError {
                code: 400 | 401 | 403,
                ..
            } => Self::Denied,
            error => Self::of_any(error),
        }
    }

    fn of_any(error: &ClientError) -> Self {
        match error {
            // 412: a standby that is behind; 472 and 473: standby of another kind (Vault's API documentation, "HTTP
            // status codes" and "/sys/health").
            ClientError::APIError {
                code: 412 | 429 | 472 | 473 | 500..,
                ..
            } => Self::Unavailable,
            ClientError::APIError { code, .. } => Self::Refused(*code),
            // No answer, or one of something that stands before Vault.
            ClientError::RestClientError { .. } => Self::Unavailable,
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: u16, text: &str) -> ClientError {
        ClientError::APIError {
            code,
            errors: vec![text.to_owned()],
        }
    }

    #[test]
    fn a_sealed_or_leaderless_vault_is_not_available() {
        for code in [429, 473, 500, 502, 503] {
            assert!(VaultError::of_request(&answer(code, "Vault is sealed")).is_transient());
            assert!(VaultError::of_login(&answer(code, "Vault is sealed")).is_transient());
        }
    }

    #[test]
    fn a_wrong_context_and_a_text_that_is_no_ciphertext_are_told_from_a_missing_key() {
        let of = |text| VaultError::of_request(&answer(400, text));
        assert!(matches!(
            of("cipher: message authentication failed"),
            VaultError::Ciphertext
        ));
        assert!(matches!(
            of("invalid ciphertext: no prefix"),
            VaultError::Ciphertext
        ));
        assert!(matches!(of("encryption key not found"), VaultError::Refused(400)));
    }

    #[test]
    fn a_refused_credential_is_a_denial() {
        assert!(matches!(
            VaultError::of_login(&answer(400, "invalid role name")),
            VaultError::Denied
        ));
        assert!(matches!(
            VaultError::of_request(&answer(403, "permission denied")),
            VaultError::Denied
        ));
    }

    #[test]
    fn nothing_that_vault_says_is_passed_on() {
        let error = VaultError::of_request(&answer(404, "no handler for route \"s3cret\""));
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
}
