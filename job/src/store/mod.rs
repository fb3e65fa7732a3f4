//! MongoDB, the only copy of everything that must not be lost: jobs, users, clients, upload bodies, OAuth requests. The
//! delivery log ([`DeliveryStore`]) alone promises less.
//!
//! Every write waits for the majority of the replica set, so what a caller was told survives the loss of any one
//! member. A caller whose call fails with an error that [`StoreError::is_transient`] does not know whether a write was
//! applied: repeating it is always safe, because inserts are idempotent by id and every other change is one atomic
//! update that is guarded by the state before it. A repeated transition answers `None`, except for a dispatch, a claim and
//! the end of an attempt, which the same [`Holder`] may repeat.

mod api_keys;
mod attempt_end;
mod audit;
mod audit_indexes;
mod bodies;
mod body_stream;
mod callbacks;
mod change;
mod claim;
mod clients;
mod collections;
mod dead_letters;
mod deliveries;
mod dispatch;
#[cfg(test)]
mod document_tests;
mod endpoints;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod flickr_requests;
mod group_commit;
mod holder;
pub mod id;
mod idempotency;
mod index;
mod insertion;
mod jobs;
pub mod json_text;
mod list;
mod oauth_requests;
mod orphans;
mod replay;
mod sending;
mod statement;
pub mod time;
mod transition;
mod transitions;
mod unread;
mod users;
mod webhook_secrets;

pub use api_keys::ApiKey;
pub use attempt_end::AttemptEnd;
pub use audit::{AUDIT_RETENTION, AuditFilter, AuditId, AuditList, AuditReport, AuditStore, InvalidAuditId};
pub use audit_indexes::AuditIndexes;
pub use bodies::{BodyStore, BodyWriter};
pub use callbacks::RetryOutcome;
pub use clients::{Client, ClientKey, ClientStore};
pub use collections::{CollectionAccess, CollectionName};
pub use dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterList};
pub use deliveries::{Delivery, DeliveryFilter, DeliveryId, DeliveryList, DeliveryStore};
pub use endpoints::{DISABLED_FOR, DisabledEndpoint, EndpointId, EndpointStore, InvalidEndpointId, shown};
pub use error::StoreError;
pub use flickr_requests::ClaimsOfJob;
pub use holder::Holder;
pub use idempotency::{IDEMPOTENCY_WINDOW, as_accepted, idempotency_left};
pub use jobs::JobStore;
pub use json_text::MAX_RESULT_BYTES;
pub use list::{JobFilter, JobList};
pub use oauth_requests::{OauthRequest, OauthRequestStore};
pub use replay::replay_of;
pub use transitions::{CancelOutcome, Hold};
pub use users::{NewToken, User, UserStore};
pub use webhook_secrets::{PreviousSecret, Rotation, WebhookSecrets};
