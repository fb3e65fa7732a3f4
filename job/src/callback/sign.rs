//! Signatures of callbacks: Standard Webhooks, symmetric scheme `v1` (HMAC-SHA256).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use standardwebhooks::Webhook;
use zeroize::Zeroizing;

use super::SigningSecrets;

/// What a secret begins with.
pub(super) const PREFIX: &str = "whsec_";
/// Bytes of a secret (Standard Webhooks, "Symmetric signatures").
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The message cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The secret is not base64 after `whsec_`.
    #[error("the webhook secret is not whsec_ and base64")]
    Secret,
    /// The secret is too short to be safe, or longer than the scheme allows.
    #[error("the webhook secret must have 24 to 64 bytes")]
    Length,
}

/// The headers of a signed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// `webhook-id`: the same in every try of one event.
    pub id: String,
    /// `webhook-timestamp`: when this try was made, in seconds since 1970.
    pub timestamp: String,
    /// `webhook-signature`: `v1,` and base64; one for each secret, the present one's first, with a space between.
    pub signature: String,
}

/// Signs one try of a message with every secret.
///
/// # Errors
/// When a secret is not one.
pub fn sign(secrets: &SigningSecrets, id: &str, now: Timestamp, body: &str) -> Result<Signature, SignError> {
    let seconds = now.as_second();
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| sign_with(secret, id, seconds, body))
        .collect::<Result<_, _>>()?;
    Ok(Signature {
        id: id.to_owned(),
        timestamp: seconds.to_string(),
        signature: signatures.join(" "),
    })
}

fn sign_with(secret: &SecretString, id: &str, seconds: i64, body: &str) -> Result<String, SignError> {
    let encoded = secret
        .expose_secret()
        .strip_prefix(PREFIX)
        .ok_or(SignError::Secret)?;
    let mut key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignError::Secret)?);
    if !LENGTHS.contains(&key.len()) {
        return Err(SignError::Length);
    }
    Webhook::from_bytes(std::mem::take(&mut *key))
        .and_then(|webhook| webhook.sign(id, seconds, body.as_bytes()))
        .map_err(|_| SignError::Secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let now = Timestamp::from_second(1_614_265_330).unwrap_or(Timestamp::UNIX_EPOCH);
        let signature = sign(
            &secret.into(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            now,
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature,
            Ok(Signature {
                id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
                timestamp: "1614265330".to_owned(),
                signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
            })
        );
    }

    #[test]
    fn during_a_rotation_the_signature_of_the_present_secret_comes_first() {
        let (present, previous) = (
            SecretString::from("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
            SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        );
        let with = |secrets: SigningSecrets| {
            sign(&secrets, "id", Timestamp::UNIX_EPOCH, "{}").map(|signed| signed.signature)
        };
        let alone = [&present, &previous].map(|secret| with(secret.clone().into()).unwrap_or_default());
        let both = SigningSecrets::new(present, Some(previous));
        assert_eq!(with(both), Ok(alone.join(" ")));
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        let sign = |secret: &str| {
            sign(
                &SecretString::from(secret).into(),
                "id",
                Timestamp::UNIX_EPOCH,
                "{}",
            )
        };
        assert_eq!(sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err(SignError::Secret));
        assert_eq!(sign("whsec_not base64"), Err(SignError::Secret));
        assert_eq!(sign("whsec_c2hvcnQ="), Err(SignError::Length));
    }
}
