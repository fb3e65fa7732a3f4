//! The collections of a hub's database, and what its processes may do with each.
//!
//! The operator gives the user of the processes a role of MongoDB that lists the collections one by one: a right to the whole
//! database would be one to the audit log, too. So a collection that is not in this list cannot be used at all. One that a
//! version does without stays in the list for another version, since processes of the one before run during an upgrade.

use mongodb::options::CollectionOptions;
use mongodb::{Collection, Database};

/// What the processes may do with a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionAccess {
    /// Read, add, change and delete documents, and create indexes.
    ReadWrite,
    /// Read documents and add some. Not even create an index: one by which MongoDB lets documents expire deletes them.
    AppendOnly,
}

impl CollectionAccess {
    /// The actions of MongoDB that this takes ("Privilege Actions" in its manual), in the order of the alphabet. Processes
    /// that begin look which indexes there are.
    pub const fn actions(self) -> &'static [&'static str] {
        match self {
            Self::ReadWrite => &[
                "createCollection",
                "createIndex",
                "find",
                "insert",
                "listIndexes",
                "remove",
                "update",
            ],
            Self::AppendOnly => &["find", "insert", "listIndexes"],
        }
    }
}

/// Makes [`CollectionName`] of one table, so that no collection can be missing from [`CollectionName::ALL`].
macro_rules! collections {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $access:ident;)*) => {
        /// A collection of a hub's database.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CollectionName {
            $($(#[$doc])* $variant,)*
        }

        impl CollectionName {
            /// Every collection.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in MongoDB.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What the processes may do with it.
            pub const fn access(self) -> CollectionAccess {
                match self {
                    $(Self::$variant => CollectionAccess::$access,)*
                }
            }
        }
    };
}

collections! {
    /// Jobs.
    Jobs = "jobs", ReadWrite;
    /// Users with their encrypted tokens.
    Users = "users", ReadWrite;
    /// Clients with their keys.
    Clients = "clients", ReadWrite;
    /// Authorisations under way.
    OauthRequests = "oauth_requests", ReadWrite;
    /// Callback addresses that are disabled.
    CallbackEndpoints = "callback_endpoints", ReadWrite;
    /// What became of the tries to deliver callbacks.
    CallbackDeliveries = "callback_deliveries", ReadWrite;
    /// The photos of uploads, one document each.
    UploadFiles = "uploads.files", ReadWrite;
    /// The pieces of these photos.
    UploadChunks = "uploads.chunks", ReadWrite;
    /// The audit log.
    Audit = "audit", AppendOnly;
}

impl CollectionName {
    /// The collection in `database`.
    pub(super) fn of<T: Send + Sync>(self, database: &Database) -> Collection<T> {
        database.collection(self.name())
    }

    /// The same, with options of its own.
    pub(super) fn with_options<T: Send + Sync>(
        self,
        database: &Database,
        options: CollectionOptions,
    ) -> Collection<T> {
        database.collection_with_options(self.name(), options)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::store::bodies::BUCKET;

    #[test]
    fn names_are_distinct_and_those_of_the_bucket_are_its_own() {
        let names: BTreeSet<_> = CollectionName::ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), CollectionName::ALL.len());
        let of_bucket: Vec<_> = names.into_iter().filter(|name| name.contains('.')).collect();
        assert_eq!(of_bucket, [format!("{BUCKET}.chunks"), format!("{BUCKET}.files")]);
    }

    #[test]
    fn the_audit_log_alone_is_append_only() {
        for one in CollectionName::ALL {
            let is_log = *one == CollectionName::Audit;
            assert_eq!(one.access() == CollectionAccess::AppendOnly, is_log, "{one:?}");
        }
        let actions = CollectionAccess::AppendOnly.actions();
        for action in [
            "collMod",
            "convertToCapped",
            "createIndex",
            "dropCollection",
            "dropIndex",
            "remove",
            "update",
        ] {
            assert!(!actions.contains(&action), "{action}");
        }
    }

    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    /// A collection that is opened by another name would be refused to the processes of a hub, and to nobody in a test that
    /// logs in as the administrator.
    #[test]
    fn every_collection_that_this_crate_opens_is_of_this_list() {
        let crate_sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Vec::new();
        sources(&crate_sources, &mut found);
        assert!(found.len() > 50, "the sources are where they are looked for");
        for path in found
            .iter()
            .filter(|path| !path.ends_with("store/collections.rs"))
        {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for opening in [".collection(", ".collection::<", ".collection_with_options("] {
                assert!(!text.contains(opening), "{}: {opening}", path.display());
            }
        }
    }
}
