//! One pass over what is stored: ciphertexts of older versions are rewrapped in small batches.
//!
//! If the process dies after any step, what was exchanged stays so and the rest is found by the next pass. A document that
//! was changed between the read and the exchange is left alone: it has a newer ciphertext, or is looked at again.

use std::time::Instant;

use super::sealed::{Exchange, Place, Sealed, Stored, places};
use super::transit::{Transit, Wrapped};
use super::{RotationError, TransitKey};

/// Documents in one batch.
pub const BATCH: usize = 100;

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Documents whose ciphertexts were exchanged.
    pub rewrapped: u64,
    /// Documents with a ciphertext that the key does not decrypt.
    pub unreadable: u64,
    /// Whether every document was looked at.
    pub complete: bool,
}

/// Rewraps until everything was looked at, or at least one batch was done and `deadline` is over.
///
/// # Errors
/// When Vault or MongoDB fails. What was done until then stays done.
pub async fn pass(
    transit: &(impl Transit + Sync),
    stored: &(impl Stored + Sync),
    key: TransitKey,
    latest: u32,
    deadline: Instant,
) -> Result<Passed, RotationError> {
    let mut passed = Passed::default();
    for place in places(key) {
        let mut after: Option<String> = None;
        loop {
            let documents = stored.older(place, latest, after.as_deref(), BATCH).await?;
            let Some(last) = documents.last() else {
                break;
            };
            after = Some(last.id.clone());
            batch(transit, stored, key, place, &documents, &mut passed).await?;
            if Instant::now() >= deadline {
                return Ok(passed);
            }
        }
    }
    passed.complete = true;
    Ok(passed)
}

async fn batch(
    transit: &(impl Transit + Sync),
    stored: &(impl Stored + Sync),
    key: TransitKey,
    place: &Place,
    documents: &[Sealed],
    passed: &mut Passed,
) -> Result<(), RotationError> {
    let wrapped: Vec<Wrapped<'_>> = documents
        .iter()
        .flat_map(|document| {
            document.ciphertexts.iter().map(|(_, ciphertext)| Wrapped {
                context: &document.context,
                ciphertext,
            })
        })
        .collect();
    let answers = transit.rewrap(key, &wrapped).await?;
    let (exchanges, unreadable) = exchanges(documents, answers);
    passed.unreadable += unreadable;
    passed.rewrapped += stored.exchange(place, &exchanges).await?;
    Ok(())
}

/// What is exchanged, given the answers in the order of the ciphertexts, and the number of documents that cannot be.
fn exchanges(documents: &[Sealed], answers: Vec<Option<String>>) -> (Vec<Exchange>, u64) {
    let mut answers = answers.into_iter();
    let mut exchanges = Vec::new();
    let mut unreadable = 0;
    for document in documents {
        let fields: Vec<_> = document
            .ciphertexts
            .iter()
            .filter_map(|(field, old)| Some((field.clone(), old.clone(), answers.next().flatten()?)))
            .collect();
        if fields.len() < document.ciphertexts.len() {
            unreadable += 1;
        }
        if !fields.is_empty() {
            exchanges.push(Exchange {
                id: document.id.clone(),
                fields,
            });
        }
    }
    (exchanges, unreadable)
}
