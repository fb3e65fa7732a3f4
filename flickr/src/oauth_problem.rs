//! The values of `oauth_problem`.

use std::fmt;

/// What Flickr says is wrong with a request's OAuth parameters.
///
/// The names are those of the OAuth Problem Reporting extension, which Flickr uses in
/// form-encoded bodies, mostly with status 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is named after the value it stands for")]
pub enum OAuthProblem {
    AdditionalAuthorizationRequired,
    ConsumerKeyRefused,
    ConsumerKeyRejected,
    ConsumerKeyUnknown,
    NonceUsed,
    ParameterAbsent,
    ParameterRejected,
    PermissionDenied,
    PermissionUnknown,
    SignatureInvalid,
    SignatureMethodRejected,
    TimestampRefused,
    TokenExpired,
    TokenRejected,
    TokenRevoked,
    TokenUsed,
    UserRefused,
    VerifierInvalid,
    VersionRejected,
    /// A value outside the extension.
    Unrecognized,
}

use OAuthProblem as P;

const NAMES: [(P, &str); 19] = [
    (
        P::AdditionalAuthorizationRequired,
        "additional_authorization_required",
    ),
    (P::ConsumerKeyRefused, "consumer_key_refused"),
    (P::ConsumerKeyRejected, "consumer_key_rejected"),
    (P::ConsumerKeyUnknown, "consumer_key_unknown"),
    (P::NonceUsed, "nonce_used"),
    (P::ParameterAbsent, "parameter_absent"),
    (P::ParameterRejected, "parameter_rejected"),
    (P::PermissionDenied, "permission_denied"),
    (P::PermissionUnknown, "permission_unknown"),
    (P::SignatureInvalid, "signature_invalid"),
    (P::SignatureMethodRejected, "signature_method_rejected"),
    (P::TimestampRefused, "timestamp_refused"),
    (P::TokenExpired, "token_expired"),
    (P::TokenRejected, "token_rejected"),
    (P::TokenRevoked, "token_revoked"),
    (P::TokenUsed, "token_used"),
    (P::UserRefused, "user_refused"),
    (P::VerifierInvalid, "verifier_invalid"),
    (P::VersionRejected, "version_rejected"),
];

impl OAuthProblem {
    /// The problem a value of `oauth_problem` names.
    pub fn from_value(value: &str) -> Self {
        NAMES
            .iter()
            .find(|(_, name)| *name == value)
            .map_or(Self::Unrecognized, |(problem, _)| *problem)
    }

    /// The value as it appears on the wire; `unrecognized` for a value outside the extension.
    pub fn as_str(self) -> &'static str {
        NAMES
            .iter()
            .find(|(problem, _)| *problem == self)
            .map_or("unrecognized", |(_, name)| name)
    }

    /// Whether the same call, signed anew, may succeed: a fresh nonce and timestamp cure the first
    /// two, and a *refused* key is by definition refused for a while only.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::NonceUsed | Self::TimestampRefused | Self::ConsumerKeyRefused
        )
    }

    /// Whether the user has to authorize the application again.
    pub fn needs_authorization(self) -> bool {
        matches!(
            self,
            Self::TokenExpired
                | Self::TokenRejected
                | Self::TokenRevoked
                | Self::TokenUsed
                | Self::PermissionDenied
                | Self::AdditionalAuthorizationRequired
        )
    }
}

impl fmt::Display for OAuthProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_itself() {
        for (problem, name) in NAMES {
            assert_eq!(OAuthProblem::from_value(name), problem);
            assert_eq!(problem.as_str(), name);
        }
        assert_eq!(P::from_value("token_on_fire"), P::Unrecognized);
        assert_eq!(P::Unrecognized.as_str(), "unrecognized");
    }
}
