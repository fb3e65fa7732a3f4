//! An audit log in memory for unit tests.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use flickrhub_job::audit::{AuditEvent, ChainCheck, Head, SealedEntry};
use flickrhub_job::store::{AUDIT_RETENTION, StoreError};
use jiff::Timestamp;

use super::AuditSink;

/// Keeps what it is given, unless it is away.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) entries: Mutex<Vec<SealedEntry>>,
    pub(crate) away: AtomicBool,
    pub(crate) heads: Vec<Head>,
}

#[async_trait]
impl AuditSink for Memory {
    async fn append(&self, entries: &[SealedEntry]) -> Result<(), Option<StoreError>> {
        if self.away.load(Ordering::Relaxed) {
            return Err(None);
        }
        let mut kept = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(entries);
        Ok(())
    }

    async fn heads(&self, _: Timestamp) -> Result<Vec<Head>, Option<StoreError>> {
        Ok(self.heads.clone())
    }
}

impl Memory {
    pub(crate) fn events(&self) -> Vec<AuditEvent> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|sealed| sealed.entry.event).collect()
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .filter_map(|sealed| sealed.entry.note.clone())
            .collect()
    }

    pub(crate) fn faults(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = entries.first().map(|sealed| sealed.chain).unwrap_or_default();
        let mut check = ChainCheck::new(chain, AUDIT_RETENTION, Timestamp::now());
        for sealed in entries.iter() {
            check.read(sealed);
        }
        check.faults.len()
    }
}
