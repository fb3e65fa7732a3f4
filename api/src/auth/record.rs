//! What came out about the sender of a request, for whoever stands around the handler: the log, the audit log.

use std::sync::{Arc, OnceLock};

use super::Caller;

/// Filled while the request is authenticated; clones share it. An extension of every request.
#[derive(Clone, Debug, Default)]
pub struct AuthRecord(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    key_id: OnceLock<String>,
    owner: OnceLock<String>,
    caller: OnceLock<Arc<Caller>>,
}

impl AuthRecord {
    /// The key that the request says it is by.
    pub fn claims(&self, key_id: &str) {
        let _ = self.0.key_id.set(key_id.to_owned());
    }

    /// The client that this key belongs to, whether or not the request is by it.
    pub fn belongs_to(&self, client_id: &str) {
        let _ = self.0.owner.set(client_id.to_owned());
    }

    /// The request is by this caller.
    pub fn is_by(&self, caller: &Arc<Caller>) {
        let _ = self.0.caller.set(Arc::clone(caller));
    }

    /// The key that the request says it is by.
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.get().map(String::as_str)
    }

    /// The client of that key.
    pub fn client_id(&self) -> Option<&str> {
        self.0.owner.get().map(String::as_str)
    }

    /// Who the request is by, if that was proved.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get().map(Arc::as_ref)
    }
}
