//! What a client of the API may do: named in `FlickrHubClient`, stored with the client, asked for by each route.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client may do; the scopes of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ScopeName {
    /// See jobs.
    #[serde(rename = "jobs:read")]
    JobsRead,
    /// Submit, cancel and replay jobs.
    #[serde(rename = "jobs:write")]
    JobsWrite,
    /// Upload and replace photos.
    #[serde(rename = "uploads:write")]
    UploadsWrite,
    /// Have users authorise the client, and forget them.
    #[serde(rename = "users:write")]
    UsersWrite,
    /// Replace the webhook secret, enable callback addresses and retry callbacks.
    #[serde(rename = "callbacks:write")]
    CallbacksWrite,
    /// Read the audit log, as far as it is about the client's own keys.
    #[serde(rename = "audit:read")]
    AuditRead,
    /// Everything.
    #[serde(rename = "admin")]
    Admin,
}

impl ScopeName {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::JobsRead,
        Self::JobsWrite,
        Self::UploadsWrite,
        Self::UsersWrite,
        Self::CallbacksWrite,
        Self::AuditRead,
        Self::Admin,
    ];

    /// The name in MongoDB, in the resource and in problems.
    pub const fn name(self) -> &'static str {
        match self {
            Self::JobsRead => "jobs:read",
            Self::JobsWrite => "jobs:write",
            Self::UploadsWrite => "uploads:write",
            Self::UsersWrite => "users:write",
            Self::CallbacksWrite => "callbacks:write",
            Self::AuditRead => "audit:read",
            Self::Admin => "admin",
        }
    }

    /// The scope of this name. A name that this version does not know grants nothing.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl fmt::Display for ScopeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_found_by_its_name_and_serialised_as_it() {
        for scope in ScopeName::ALL {
            assert_eq!(ScopeName::from_name(scope.name()), Some(scope));
            assert_eq!(
                serde_json::to_value(scope).ok(),
                Some(serde_json::Value::from(scope.name()))
            );
        }
        assert_eq!(ScopeName::from_name("jobs"), None);
    }
}
