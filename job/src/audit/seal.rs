//! The chain: numbers and hashes of entries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::AuditEntry;

/// What the first entry of a chain has for the hash of the one before it.
pub(super) const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An entry in its place in a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedEntry {
    /// The chain.
    pub chain: Uuid,
    /// Its number in the chain, from 0.
    pub seq: u64,
    /// The hash of the entry before it, in hexadecimal; 64 zeros for the first.
    pub previous: String,
    /// What happened.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// Its own hash.
    pub hash: String,
}

/// What is hashed, in this order.
#[derive(Serialize)]
struct Canonical<'a> {
    version: u8,
    chain: Uuid,
    seq: u64,
    previous: &'a str,
    /// Milliseconds since 1970: a time has several spellings as text.
    at: i64,
    event: &'a str,
    client_id: Option<&'a str>,
    key_id: Option<&'a str>,
    address: Option<&'a str>,
    method: Option<&'a str>,
    route: Option<&'a str>,
    status: Option<u16>,
    code: Option<&'a str>,
    trace_id: Option<&'a str>,
    note: Option<&'a str>,
}

impl SealedEntry {
    /// The SHA-256, in hexadecimal, of the canonical form: compact JSON (RFC 8259) with the members `version` (1), `chain`,
    /// `seq`, `previous`, `at` (milliseconds since 1970), `event`, `client_id`, `key_id`, `address`, `method`, `route`,
    /// `status`, `code`, `trace_id`, `note` in this order, each there, null where there is nothing.
    pub fn digest(&self) -> String {
        // A new field is asked for here, so that none is left out of the hash.
        let AuditEntry {
            at,
            event,
            client_id,
            key_id,
            address,
            method,
            route,
            status,
            code,
            trace_id,
            note,
        } = &self.entry;
        let canonical = Canonical {
            version: 1,
            chain: self.chain,
            seq: self.seq,
            previous: &self.previous,
            at: at.as_millisecond(),
            event: event.name(),
            client_id: client_id.as_deref(),
            key_id: key_id.as_deref(),
            address: address.as_deref(),
            method: method.as_deref(),
            route: route.as_deref(),
            status: *status,
            code: code.as_deref(),
            trace_id: trace_id.as_deref(),
            note: note.as_deref(),
        };
        // Texts and numbers always have a JSON form.
        let text = serde_json::to_vec(&canonical).unwrap_or_default();
        Sha256::digest(&text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Where its chain stands with it.
    pub fn head(&self) -> Head {
        Head {
            chain: self.chain,
            seq: self.seq,
            at: self.entry.at.as_millisecond(),
            hash: self.hash.clone(),
        }
    }
}

/// A chain that is being written.
#[derive(Debug)]
pub struct Chain {
    id: Uuid,
    next: u64,
    previous: String,
}

impl Chain {
    /// A new chain.
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two chains; a default would hide that"
    )]
    pub fn new() -> Self {
        Self {
            id: Uuid::now_v7(),
            next: 0,
            previous: GENESIS.to_owned(),
        }
    }

    /// Its name.
    pub const fn id(&self) -> Uuid {
        self.id
    }

    /// Gives an entry its place at the end of the chain.
    pub fn seal(&mut self, entry: AuditEntry) -> SealedEntry {
        let mut sealed = SealedEntry {
            chain: self.id,
            seq: self.next,
            previous: std::mem::take(&mut self.previous),
            entry,
            hash: String::new(),
        };
        sealed.hash = sealed.digest();
        self.next += 1;
        self.previous.clone_from(&sealed.hash);
        sealed
    }
}

/// Where a chain stands: its last entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain.
    pub chain: Uuid,
    /// The number of its last entry.
    pub seq: u64,
    /// When that was, in milliseconds since 1970.
    pub at: i64,
    /// The hash of that entry.
    pub hash: String,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.chain, self.seq, self.at, self.hash)
    }
}

/// The text is no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no head of a chain: chain:number:milliseconds:hash")]
pub struct InvalidHead;

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next().ok_or(InvalidHead);
        Ok(Self {
            chain: next()?.parse().map_err(|_| InvalidHead)?,
            seq: next()?.parse().map_err(|_| InvalidHead)?,
            at: next()?.parse().map_err(|_| InvalidHead)?,
            hash: next()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::AuditEvent;
    use super::*;

    #[test]
    fn the_canonical_form_is_for_ever() {
        let entry = AuditEntry {
            client_id: Some("acme".to_owned()),
            status: Some(202),
            ..AuditEntry::of_log(AuditEvent::ApiCall, Timestamp::constant(1_800_000_000, 0), None)
        };
        let sealed = SealedEntry {
            chain: Uuid::nil(),
            seq: 7,
            previous: GENESIS.to_owned(),
            entry,
            hash: String::new(),
        };
        let text = format!(
            "{{\"version\":1,\"chain\":\"00000000-0000-0000-0000-000000000000\",\"seq\":7,\"previous\":\"{GENESIS}\",\
             \"at\":1800000000000,\"event\":\"api_call\",\"client_id\":\"acme\",\"key_id\":null,\"address\":null,\
             \"method\":null,\"route\":null,\"status\":202,\"code\":null,\"trace_id\":null,\"note\":null}}"
        );
        let expected: String = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(sealed.digest(), expected);
    }

    #[test]
    fn a_head_is_read_back() {
        let head = Chain::new()
            .seal(AuditEntry::of_log(
                AuditEvent::Checkpoint,
                Timestamp::UNIX_EPOCH,
                None,
            ))
            .head();
        assert_eq!(head.to_string().parse(), Ok(head));
        assert_eq!("a:b".parse::<Head>(), Err(InvalidHead));
    }
}
