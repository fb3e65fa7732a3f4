//! The way back to the client: the address that the user's browser is sent to in the end.
//!
//! The outcome stands in the query of an address, which whoever holds the browser can write as they like. What they could
//! gain, and what prevents it:
//!
//! | somebody | would | prevented by |
//! | --- | --- | --- |
//! | opens the client's page with `status=authorised` and the `user_id` of another user | be taken for that user by the client | the signature: only the hub and the client know the client's webhook secret |
//! | gets a `return_url` started whose own query holds such a pair | have the client read that pair instead of ours, below a good signature | [`RESERVED`] names are refused in a `return_url` |
//! | opens a link again that was theirs, or another user's | have an old outcome taken for a new one | the signed time, and the client's own value in the `return_url`, which is signed too |
//! | sends the page at Flickr that was made for them to somebody else | have that user's photos connected to their own account | the client alone: it puts a value that only this browser knows into its `return_url` and compares it |
//!
//! The signature is that of the client's callbacks (Standard Webhooks), so that a client verifies both by the same
//! library: the message is the query as it was sent up to `&webhook_id=`, its headers are the three parameters after it.

use flickrhub_job::callback::{SignError, SigningSecrets, sign};
use jiff::Timestamp;
use url::Url;

/// The parameters that are added, none of which a `return_url` may have of its own.
pub const RESERVED: [&str; 6] = [
    "status",
    "user_id",
    "permission",
    "webhook_id",
    "webhook_timestamp",
    "webhook_signature",
];

/// How an authorisation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// The client may act for the user.
    Authorised {
        /// The user (NSID).
        user_id: &'a str,
        /// What the client may do: `read`, `write` or `delete`.
        permission: &'a str,
    },
    /// The user, or Flickr, said no.
    Refused,
    /// Something between the hub and Flickr went wrong; the user may try again.
    Failed,
}

impl Outcome<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Authorised { .. } => "authorised",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The client's address with the outcome and a signature in its query, during a rotation two with a space between. `id` is
/// new for each call.
///
/// # Errors
/// When a secret is not one.
pub fn return_link(
    mut address: Url,
    outcome: &Outcome<'_>,
    secrets: &SigningSecrets,
    id: &str,
    now: Timestamp,
) -> Result<Url, SignError> {
    address.query_pairs_mut().append_pair("status", outcome.name());
    if let Outcome::Authorised { user_id, permission } = outcome {
        address
            .query_pairs_mut()
            .append_pair("user_id", user_id)
            .append_pair("permission", permission);
    }
    let signature = sign(secrets, id, now, address.query().unwrap_or_default())?;
    address
        .query_pairs_mut()
        .append_pair("webhook_id", &signature.id)
        .append_pair("webhook_timestamp", &signature.timestamp)
        .append_pair("webhook_signature", &signature.signature);
    Ok(address)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn link(address: &str, outcome: &Outcome<'_>) -> String {
        let address = Url::parse(address).unwrap_or_else(|error| panic!("{error}"));
        let now = Timestamp::from_second(1_614_265_330).unwrap_or(Timestamp::UNIX_EPOCH);
        return_link(address, outcome, &SecretString::from(SECRET).into(), "id", now)
            .map_or_else(|error| panic!("{error}"), String::from)
    }

    /// Verifies as a client does, with nothing but the query as it came.
    fn is_genuine(link: &str) -> bool {
        let query = link.split_once('?').map_or("", |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        let Some((message, _)) = query.split_once("&webhook_id=") else {
            return false;
        };
        let value = |wanted: &str| {
            url::form_urlencoded::parse(query.as_bytes())
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let now = value("webhook_timestamp")
            .parse()
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let expected = sign(
            &SecretString::from(SECRET).into(),
            &value("webhook_id"),
            now,
            message,
        );
        expected.is_ok_and(|expected| expected.signature == value("webhook_signature"))
    }

    const BEES: Outcome<'_> = Outcome::Authorised {
        user_id: "12@N01",
        permission: "write",
    };

    #[test]
    fn the_outcome_follows_what_the_client_put_into_its_address() {
        let link = link("https://example.com/done?session=5", &BEES);
        let expected = "https://example.com/done?session=5&status=authorised&user_id=12%40N01&permission=write\
            &webhook_id=id&webhook_timestamp=1614265330&webhook_signature=v1%2C";
        assert!(link.starts_with(expected), "{link}");
        assert!(is_genuine(&link));
    }

    #[test]
    fn every_outcome_is_signed_wherever_the_address_ends() {
        for address in [
            "https://example.com",
            "https://example.com/done?",
            "https://example.com/done?a=b%20c#top",
        ] {
            for outcome in [BEES, Outcome::Refused, Outcome::Failed] {
                let link = link(address, &outcome);
                assert!(is_genuine(&link), "{link}");
                assert!(link.contains(outcome.name()), "{link}");
            }
        }
    }

    #[test]
    fn a_link_that_somebody_changed_is_not_genuine() {
        let genuine = link("https://example.com/done?session=5", &BEES);
        for (part, other) in [
            ("12%40N01", "13%40N01"),
            ("permission=write", "permission=delete"),
            ("session=5", "session=6"),
            ("webhook_timestamp=1614265330", "webhook_timestamp=1914265330"),
        ] {
            assert!(genuine.contains(part), "{genuine}");
            assert!(!is_genuine(&genuine.replace(part, other)), "{other}");
        }
        let refused = link("https://example.com/done?session=5", &Outcome::Refused);
        assert!(!is_genuine(
            &refused.replace("refused", "authorised&user_id=12%40N01")
        ));
    }

    #[test]
    fn every_parameter_that_is_added_is_reserved() {
        let link = link("https://example.com", &BEES);
        let query = link.split_once('?').map_or("", |(_, query)| query);
        let names: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, _)| name.into_owned())
            .collect();
        assert_eq!(names, RESERVED);
    }
}
