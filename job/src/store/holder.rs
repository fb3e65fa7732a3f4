//! Who asks for a job, so that a request whose answer was lost can be repeated.
//!
//! A dispatch or a claim may be applied although its caller saw an error: the majority was slow, or the connection
//! broke. The document keeps who took the job last; a repetition by the same holder gets the job, anybody else is
//! refused.

use uuid::Uuid;

/// One taker of one job. Make it once, and use it for every repetition of the same dispatch or claim, never for another.
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

    /// As it stands in the job's document.
    pub(super) fn to_bson(self) -> bson::Uuid {
        bson::Uuid::from_bytes(self.0.into_bytes())
    }
}
