//! The webhook secrets of a client: the present one, and during a rotation the one before it.
//!
//! They stand in the client's document, as ciphertexts. A rotation is one update of that document, guarded by the present
//! ciphertext, so of two rotations that come at once one is applied and the other changes nothing:
//!
//! | the document has | after a rotation |
//! | --- | --- |
//! | present A | present B; A is valid until the end of the overlap |
//! | present B, and A until then | present C; B is valid until the end of the overlap; A signs no more |
//!
//! If the process dies after the update, the new secret signs and nobody was told of it: the client rotates again, and gets
//! a secret that it knows. Its callbacks carry no signature that its receivers know until it has given them that secret;
//! what they refuse meanwhile is tried again for a day.

use bson::{Bson, DateTime, Document, doc};
use jiff::Timestamp;
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};

use super::error::within;
use super::time::{now, to_bson};
use super::{ClientStore, StoreError};

/// The secrets that sign what a client is told (`whsec_…`), encrypted by Vault with the client's id as context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecrets {
    /// The present one.
    #[serde(rename = "webhook_secret")]
    pub present: String,
    /// The one before it.
    #[serde(default, rename = "previous_webhook_secret")]
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The secret, encrypted as the present one.
    pub ciphertext: String,
    /// It signs until then.
    #[serde(with = "crate::store::time")]
    pub valid_until: Timestamp,
}

impl WebhookSecrets {
    /// The ciphertext of the previous secret, if that is still valid.
    pub fn previous_at(&self, now: Timestamp) -> Option<&str> {
        let previous = self.previous.as_ref()?;
        (now < previous.valid_until).then_some(previous.ciphertext.as_str())
    }
}

/// What became of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The new secret is the present one.
    Done(WebhookSecrets),
    /// The present secret was not the expected one any more: another rotation came first. Nothing changed.
    Overtaken,
}

impl ClientStore {
    /// The secrets of one client.
    pub async fn webhook_secrets(&self, client_id: &str) -> Result<Option<WebhookSecrets>, StoreError> {
        let clients = self.clients.clone_with_type::<WebhookSecrets>();
        let find = clients.find_one(doc! { "_id": client_id });
        within(find.projection(projection())).await
    }

    /// Makes `new` the present secret; `present`, the ciphertext that was the present one, is valid until `valid_until`, or
    /// from now on no more.
    ///
    /// The same call may be repeated: where it was applied already, it says so again.
    pub async fn rotate_webhook_secret(
        &self,
        client_id: &str,
        present: &str,
        new: &str,
        valid_until: Option<Timestamp>,
    ) -> Result<Rotation, StoreError> {
        let clients = self.clients.clone_with_type::<WebhookSecrets>();
        let change = clients
            .find_one_and_update(
                doc! { "_id": client_id, "webhook_secret": present },
                rotation(present, new, valid_until, now()),
            )
            .projection(projection())
            .return_document(ReturnDocument::After);
        let error = match within(change).await {
            Ok(Some(rotated)) => return Ok(Rotation::Done(rotated)),
            Ok(None) => None,
            Err(error) if error.is_transient() => Some(error),
            Err(error) => return Err(error),
        };
        // The update may have been applied although its answer was lost. A ciphertext is like no other.
        let stored = self.webhook_secrets(client_id).await?;
        match (stored, error) {
            (Some(stored), _) if stored.present == new => Ok(Rotation::Done(stored)),
            (_, Some(error)) => Err(error),
            (_, None) => Ok(Rotation::Overtaken),
        }
    }
}

fn projection() -> Document {
    doc! { "_id": 0, "webhook_secret": 1, "previous_webhook_secret": 1 }
}

fn rotation(present: &str, new: &str, valid_until: Option<Timestamp>, now: Timestamp) -> Document {
    let previous = valid_until.map_or(Bson::Null, |until| {
        Bson::Document(doc! { "ciphertext": present, "valid_until": to_bson(until) })
    });
    let rotated_at: DateTime = to_bson(now);
    doc! { "$set": {
        "webhook_secret": new,
        "previous_webhook_secret": previous,
        // By this the operator sees that the secret is not the one of its Secret any more.
        "webhook_secret_rotated_at": rotated_at,
    } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_client_that_never_rotated_has_one_secret() {
        let stored = doc! { "webhook_secret": "vault:v1:a" };
        let secrets: Option<WebhookSecrets> = bson::deserialize_from_document(stored).ok();
        let expected = WebhookSecrets {
            present: "vault:v1:a".to_owned(),
            previous: None,
        };
        assert_eq!(secrets, Some(expected));
    }

    #[test]
    fn a_rotation_is_read_back() {
        let until = Timestamp::constant(1_800_000_000, 0);
        let set = |until| {
            let update = rotation("vault:v1:a", "vault:v1:b", until, Timestamp::UNIX_EPOCH);
            let set = update.get_document("$set").cloned().unwrap_or_default();
            bson::deserialize_from_document::<WebhookSecrets>(set).ok()
        };
        let expected = WebhookSecrets {
            present: "vault:v1:b".to_owned(),
            previous: Some(PreviousSecret {
                ciphertext: "vault:v1:a".to_owned(),
                valid_until: until,
            }),
        };
        assert_eq!(set(Some(until)), Some(expected.clone()));
        assert_eq!(
            set(None),
            Some(WebhookSecrets {
                previous: None,
                ..expected
            })
        );
    }

    proptest! {
        #[test]
        fn a_previous_secret_signs_until_its_time_is_over(now in 0..2_000_000_000_i64, until in 0..2_000_000_000_i64) {
            let time = |second| Timestamp::from_second(second).unwrap_or_default();
            let secrets = WebhookSecrets {
                present: "b".to_owned(),
                previous: Some(PreviousSecret { ciphertext: "a".to_owned(), valid_until: time(until) }),
            };
            prop_assert_eq!(secrets.previous_at(time(now)), (now < until).then_some("a"));
        }
    }
}
