//! The log of calls.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Entries kept; older ones are dropped.
const CAPACITY: usize = 100_000;

/// One call that Flickr saw.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 1 and never repeats until a reset.
    pub seq: u64,
    /// When the call arrived, in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// The API method, or `upload`, `replace`, `request_token`, `authorize`, `access_token`.
    pub method: String,
    /// The path called.
    pub path: String,
    /// The nsid behind the token, if the token was known.
    pub user: Option<String>,
    /// The application's key, if one was given.
    pub consumer_key: Option<String>,
    /// The arguments that the caller chose: without those of OAuth, the key, the format; long ones are cut off.
    pub arguments: BTreeMap<String, String>,
    /// SHA-256 of the photo that came with the call.
    pub content_sha256: Option<String>,
    /// The HTTP status sent; 0 when the connection was dropped instead.
    pub status: u16,
    /// Flickr's error code or the `oauth_problem` sent.
    pub error: Option<String>,
    /// The kind of fault that a rule put here.
    pub fault: Option<&'static str>,
    /// Counts the calls that changed something; absent when this one did not.
    pub effect_id: Option<u64>,
    /// What it changed: the id of the photo, set or ticket.
    pub effect: Option<String>,
    /// The `traceparent` header.
    pub traceparent: Option<String>,
    /// The `X-Trace-Id` header.
    pub trace_id: Option<String>,
}

/// The last calls.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    last_seq: u64,
    last_effect: u64,
}

impl Journal {
    /// Adds an entry, and numbers it and its effect.
    pub(crate) fn add(&mut self, mut entry: Entry) {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        if entry.effect.is_some() {
            self.last_effect += 1;
            entry.effect_id = Some(self.last_effect);
        }
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
