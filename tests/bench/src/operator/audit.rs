//! What the operator wrote, by the audit log of the API server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use serde_json::Value;

use crate::Failure;

/// The user that the operator is.
const OPERATOR: &str = "system:serviceaccount:flickrhub-system:flickrhub-operator";

/// The audit log.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    path: PathBuf,
}

/// A place in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Audit {
    pub(crate) const fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The end of the log.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn mark(&self) -> Result<Mark, Failure> {
        Ok(Mark(std::fs::metadata(&self.path)?.len()))
    }

    /// The operator's writes since then, by verb and resource, each with their number. The lease, by which the leader is
    /// elected, is not among them: it is renewed every few seconds by design, and no hub's.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn writes_since(&self, mark: Mark) -> Result<BTreeMap<String, usize>, Failure> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark.0))?;
        let mut writes = BTreeMap::new();
        for line in BufReader::new(file).lines() {
            // The last line may not be whole yet.
            let Ok(entry) = serde_json::from_str::<Value>(&line?) else {
                continue;
            };
            if let Some(what) = write(&entry) {
                *writes.entry(what).or_default() += 1;
            }
        }
        Ok(writes)
    }
}

/// What an entry says that the operator wrote; `None` if it is no write of the operator's to an object of a hub.
fn write(entry: &Value) -> Option<String> {
    let text = |path: &str| entry.pointer(path).and_then(Value::as_str);
    if text("/user/username") != Some(OPERATOR) || text("/stage") != Some("ResponseComplete") {
        return None;
    }
    let resource = text("/objectRef/resource")?;
    // A dry run writes nothing.
    let is_dry = text("/requestURI").is_some_and(|uri| uri.contains("dryRun="));
    if resource == "leases" || is_dry {
        return None;
    }
    let subresource = text("/objectRef/subresource").map(|name| format!("/{name}"));
    Some(format!(
        "{} {resource}{}",
        text("/verb")?,
        subresource.unwrap_or_default()
    ))
}

/// How many there are in all.
pub(crate) fn total(writes: &BTreeMap<String, usize>) -> usize {
    writes.values().sum()
}
