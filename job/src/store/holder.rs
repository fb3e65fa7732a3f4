//! Who moves a job, so that a request whose answer was lost can be repeated.
//!
//! A dispatch, a claim or the end of an attempt may be applied although its caller saw an error: the majority was slow, or
//! the connection broke. The document keeps who moved the job last; a repetition by the same holder gets the same answer,
//! anybody else is refused.

use uuid::Uuid;

/// One mover of one job, or of the jobs that are dispatched together. Make it once, and use it for every repetition of the
/// same dispatch, claim or end, never for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder(Uuid);

impl Holder {
    /// A holder that nobody else is.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two holders; a default would hide that"
    )]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Whether this is the holder that stands in a job's document.
    pub(super) fn is(self, stored: Uuid) -> bool {
        self.0 == stored
    }

    /// As it stands in the job's document.
    pub(super) fn to_bson(self) -> bson::Uuid {
        bson::Uuid::from_bytes(self.0.into_bytes())
    }
}
