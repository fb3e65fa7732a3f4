//! The audit log: what a security event is, and how events are chained so that a change or a removal shows.
//!
//! Each process that writes has a chain of its own, named by a UUID version 7, which tells when it began. An entry holds the
//! SHA-256 of the entry before it and its own number in the chain, and the SHA-256 over both and everything else it says
//! ([`SealedEntry::digest`]). So whoever changes, removes or inserts an entry has to write every later one of the chain anew;
//! and from time to time each chain notes where the others stand ([`Head`]), so that the end of one cannot be cut off, nor
//! a whole chain be removed, without the others telling. The processes of a hub may only add to the collection. Whoever may
//! write all of it and knows this can forge all of it: export the log to where the hub cannot write.
//!
//! What an entry says is here as it is hashed; as it is stored it has BSON's numbers and times ([`crate::store`]), and as it is
//! told it is the API's contract. The three are apart on purpose, so that a change of one cannot change what was hashed; each
//! is taken apart field by field, so that the compiler tells of one that was forgotten.
//!
//! [`ChainCheck`] is the verifier's decision; `flickrhub-api verify-audit` runs it over the store.

mod check;
mod seal;

pub use check::{ChainCheck, ChainFault, FaultKind};
pub use seal::{Chain, Head, SealedEntry};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// A request that was authenticated, or needs no credential.
    ApiCall,
    /// A request that changes who may do what, or reads the audit log.
    AdminAction,
    /// A credential is missing or does not hold.
    AuthenticationFailed,
    /// A credential holds, and its client may not do this.
    AuthorisationFailed,
    /// A process began to write; `note` has the heads of other chains.
    ChainStarted,
    /// Now and then: `note` has the heads of other chains.
    Checkpoint,
    /// Entries are missing before this one; `note` says how many and why.
    EntriesLeftOut,
    /// The process ended in order.
    ChainEnded,
}

impl AuditEvent {
    /// Every event.
    pub const ALL: [Self; 8] = [
        Self::ApiCall,
        Self::AdminAction,
        Self::AuthenticationFailed,
        Self::AuthorisationFailed,
        Self::ChainStarted,
        Self::Checkpoint,
        Self::EntriesLeftOut,
        Self::ChainEnded,
    ];

    /// The name in MongoDB and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiCall => "api_call",
            Self::AdminAction => "admin_action",
            Self::AuthenticationFailed => "authentication_failed",
            Self::AuthorisationFailed => "authorisation_failed",
            Self::ChainStarted => "chain_started",
            Self::Checkpoint => "checkpoint",
            Self::EntriesLeftOut => "entries_left_out",
            Self::ChainEnded => "chain_ended",
        }
    }

    /// The event of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// One event. Its fields are in the order in which they are hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it happened; to the millisecond.
    pub at: Timestamp,
    /// What it is about.
    pub event: AuditEvent,
    /// The client, or the client of the key that the request claimed to be by.
    pub client_id: Option<String>,
    /// The key that the request was by, or claimed to be by.
    pub key_id: Option<String>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The HTTP method.
    pub method: Option<String>,
    /// The route's template: without what the client put into it.
    pub route: Option<String>,
    /// The HTTP status that was answered; `None`: the client went away before.
    pub status: Option<u16>,
    /// The code of the problem that was answered.
    pub code: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
    /// What else there is to say.
    pub note: Option<String>,
}

impl AuditEntry {
    /// An entry about the log itself.
    pub fn of_log(event: AuditEvent, at: Timestamp, note: Option<String>) -> Self {
        Self {
            at,
            event,
            client_id: None,
            key_id: None,
            address: None,
            method: None,
            route: None,
            status: None,
            code: None,
            trace_id: None,
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_name_and_serialised_as_it() {
        for event in AuditEvent::ALL {
            assert_eq!(AuditEvent::from_name(event.name()), Some(event));
            let value = serde_json::to_value(event).ok();
            assert_eq!(value, Some(serde_json::Value::from(event.name())));
        }
        assert_eq!(AuditEvent::from_name("other"), None);
    }
}
