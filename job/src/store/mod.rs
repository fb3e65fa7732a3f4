//! MongoDB, the only copy of everything that must not be lost: jobs, users, clients, upload bodies, OAuth requests.
//!
//! Every write waits for the majority of the replica set, so what a caller was told survives the loss of any one
//! member. A caller whose call fails with an error that [`StoreError::is_transient`] does not know whether a write was
//! applied: repeating it is always safe, because inserts are idempotent by id and every other change is one atomic
//! update that is guarded by the state before it. A repeated transition answers `None`, except for a dispatch and a claim,
//! which the same [`Holder`] may repeat.

mod bodies;
mod body_stream;
mod callbacks;
mod clients;
mod dead_letters;
#[cfg(test)]
mod document_tests;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod holder;
pub mod id;
mod index;
mod jobs;
pub mod json_text;
mod list;
mod oauth_requests;
mod orphans;
mod replay;
mod sending;
pub mod time;
mod transition;
mod transitions;
mod unread;
mod users;

pub use bodies::{BodyStore, BodyWriter};
pub use clients::{Client, ClientKey, ClientStore};
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterList};
pub use error::StoreError;
pub use holder::Holder;
pub use jobs::JobStore;
pub use json_text::MAX_RESULT_BYTES;
pub use list::{JobFilter, JobList};
pub use oauth_requests::{OauthRequest, OauthRequestStore};
pub use replay::replay_of;
pub use transitions::{CancelOutcome, Hold};
pub use users::{NewToken, User, UserStore};
