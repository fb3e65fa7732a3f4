//! What users and clients may ask of the hub: the file `limits.yaml` beside the configuration, which may change while
//! processes run.
//!
//! The operator writes it into the same ConfigMap as `config.yaml`, from `spec.limits` and `spec.flickr.breaker` of the `FlickrHub` resource. It is no
//! part of the checksum that restarts pods: a process reads it again every [`POLL`], and the kubelet brings a change to
//! the pod within about a minute. A file that cannot be read leaves the limits as they were; a process that starts
//! without a good one starts with the defaults, because the hub is to serve, and takes the file when it comes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::budget::BreakerConfig;
use crate::model::DEFAULT_WEIGHT;

/// The name of the file, in the directory of the configuration.
pub const LIMITS_FILE: &str = "limits.yaml";
/// How often the file is looked at.
pub const POLL: Duration = Duration::from_secs(5);
/// The largest weight of a user.
pub const MAX_WEIGHT: u32 = 1000;

/// What users and clients may ask of the hub. What a file does not name is as by default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Jobs that one user may have accepted in any hour, over all classes; at least 1.
    pub per_user_per_hour: u32,
    /// The same for each class.
    pub classes: ClassLimits,
    /// Accepted jobs of one user that are not finished.
    pub pending_per_user: u32,
    /// Accepted jobs of one queue that are not finished, over all users.
    pub buffer_per_queue: u32,
    /// Jobs that one API client may have accepted in any minute, over all users; at least 1.
    pub per_client_per_minute: u32,
    /// Seconds from acceptance to `expires_at` when the client names no other time.
    pub default_expires_in_seconds: u32,
    /// The shares of users by id (NSID), for those that have another than [`DEFAULT_WEIGHT`]; 1 to [`MAX_WEIGHT`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u32>,
    /// When requests to Flickr stop because it does not answer.
    #[serde(skip_serializing_if = "BreakerConfig::is_default")]
    pub breaker: BreakerConfig,
}

/// Jobs that one user may have accepted in any hour, by class; each at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassLimits {
    /// [`RequestClass::Read`].
    pub read: u32,
    /// [`RequestClass::Write`].
    pub write: u32,
    /// [`RequestClass::Upload`].
    pub upload: u32,
}

/// The kinds of requests that are limited apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestClass {
    /// Methods that need at most the permission `read`.
    Read,
    /// Methods that need the permission `write` or `delete`.
    Write,
    /// Uploads and replacements.
    Upload,
}

impl RequestClass {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Upload];

    /// The name in keys and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Upload => "upload",
        }
    }
}

impl ClassLimits {
    /// The limit of one class.
    pub const fn of(&self, class: RequestClass) -> u32 {
        match class {
            RequestClass::Read => self.read,
            RequestClass::Write => self.write,
            RequestClass::Upload => self.upload,
        }
    }
}

/// By default each class may use all that the user may: Flickr's own limit is 3,600 requests an hour.
const PER_USER_PER_HOUR: u32 = 3500;

impl Default for ClassLimits {
    fn default() -> Self {
        Self {
            read: PER_USER_PER_HOUR,
            write: PER_USER_PER_HOUR,
            upload: PER_USER_PER_HOUR,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_user_per_hour: PER_USER_PER_HOUR,
            classes: ClassLimits::default(),
            pending_per_user: 1000,
            buffer_per_queue: 100_000,
            per_client_per_minute: 6000,
            default_expires_in_seconds: 86_400,
            weights: BTreeMap::new(),
            breaker: BreakerConfig::default(),
        }
    }
}

/// The file holds no limits that could be applied.
#[derive(Debug, thiserror::Error)]
pub enum LimitsError {
    /// The file is missing or not readable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML of this shape.
    #[error("{path} holds no limits: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
    /// A limit would let nothing through, or a weight is out of its range.
    #[error("{0} is out of range")]
    OutOfRange(String),
}

impl Limits {
    /// The share of a user, for [`Job::weight`](crate::model::Job::weight).
    pub fn weight_of(&self, user_id: &str) -> u32 {
        self.weights.get(user_id).copied().unwrap_or(DEFAULT_WEIGHT)
    }

    /// From acceptance to `expires_at` where the client names no time.
    pub fn default_lifetime(&self) -> Duration {
        Duration::from_secs(self.default_expires_in_seconds.into())
    }

    fn parse(path: &Path, text: &str) -> Result<Self, LimitsError> {
        let limits: Self = serde_yaml_ng::from_str(text).map_err(|source| LimitsError::Parse {
            path: path.to_owned(),
            source,
        })?;
        limits.check().map(|()| limits)
    }

    fn check(&self) -> Result<(), LimitsError> {
        let positive = [
            ("perUserPerHour", self.per_user_per_hour),
            ("classes.read", self.classes.read),
            ("classes.write", self.classes.write),
            ("classes.upload", self.classes.upload),
            ("perClientPerMinute", self.per_client_per_minute),
            ("defaultExpiresInSeconds", self.default_expires_in_seconds),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(LimitsError::OutOfRange(name.to_owned()));
        }
        if let Some(name) = self.breaker.wrong() {
            return Err(LimitsError::OutOfRange(format!("breaker.{name}")));
        }
        match self
            .weights
            .iter()
            .find(|(_, weight)| !(1..=MAX_WEIGHT).contains(*weight))
        {
            Some((user, _)) => Err(LimitsError::OutOfRange(format!("weights.{user}"))),
            None => Ok(()),
        }
    }
}

/// The limits as they are now; clones share them.
#[derive(Clone, Debug)]
pub struct LiveLimits(Arc<ArcSwap<Limits>>);

impl From<Limits> for LiveLimits {
    fn from(limits: Limits) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(limits)))
    }
}

impl LiveLimits {
    /// The limits at this moment. Take them once for one decision.
    pub fn get(&self) -> Arc<Limits> {
        self.0.load_full()
    }

    /// Other limits from now on.
    pub fn set(&self, limits: Limits) {
        self.0.store(Arc::new(limits));
    }
}

/// The file beside the configuration, and what it said last.
#[derive(Debug)]
pub struct LimitsFile {
    path: PathBuf,
    /// The text that was looked at last, good or not; `None` while there is no file.
    seen: Option<String>,
    limits: LiveLimits,
}

impl LimitsFile {
    /// Reads the file beside the configuration at `config`; with the defaults where that fails, which is logged.
    pub async fn beside(config: &Path) -> Self {
        let mut file = Self {
            path: config.with_file_name(LIMITS_FILE),
            seen: None,
            limits: Limits::default().into(),
        };
        if !file.look().await {
            tracing::error!(path = %file.path.display(), "starting with the default limits");
        }
        file
    }

    /// The limits, kept up to date while [`LimitsFile::follow`] runs.
    pub fn limits(&self) -> LiveLimits {
        self.limits.clone()
    }

    /// Keeps the limits up to date, for ever.
    pub async fn follow(mut self) {
        loop {
            tokio::time::sleep(POLL).await;
            self.look().await;
        }
    }

    /// Takes the file's limits if it changed and holds some; whether the limits are the file's now.
    ///
    /// The text is compared and not the time of the file: a mounted ConfigMap changes by a link to another directory.
    async fn look(&mut self) -> bool {
        let text = match tokio::fs::read_to_string(&self.path).await {
            Ok(text) => text,
            Err(source) => {
                // Reported once, not every few seconds.
                if self.seen.take().is_some() {
                    let path = self.path.clone();
                    let error = LimitsError::Read { path, source };
                    tracing::error!(%error, "the limits stay as they are");
                }
                return false;
            }
        };
        if self.seen.as_ref() == Some(&text) {
            return true;
        }
        let parsed = Limits::parse(&self.path, &text);
        self.seen = Some(text);
        match parsed {
            Ok(limits) => {
                if *self.limits.get() != limits {
                    tracing::info!(event = "limits_changed", ?limits, "the limits changed");
                    self.limits.set(limits);
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the limits stay as they are");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("limits-{}", uuid::Uuid::now_v7()));
            std::fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{error}"));
            Self(path)
        }

        fn write(&self, text: &str) {
            std::fs::write(self.0.join(LIMITS_FILE), text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_and_a_bad_one_changes_nothing() {
        let directory = Directory::new();
        directory.write("perUserPerHour: 7\nweights: {12@N01: 9}\n");
        let mut file = LimitsFile::beside(&directory.0.join("config.yaml")).await;
        let limits = file.limits();
        assert_eq!(limits.get().per_user_per_hour, 7);
        assert_eq!(limits.get().weight_of("12@N01"), 9);
        assert_eq!(limits.get().weight_of("13@N01"), DEFAULT_WEIGHT);
        assert_eq!(limits.get().pending_per_user, Limits::default().pending_per_user);

        for bad in [
            "perUserPerHour: [",
            "perUserPerHour: 0",
            "classes: {upload: 0}",
            "weights: {a: 0}",
            "weights: {a: 1001}",
            "breaker: {failurePercent: 101}",
            "breaker: {openSeconds: 400}",
        ] {
            directory.write(bad);
            assert!(!file.look().await, "{bad}");
            assert_eq!(limits.get().per_user_per_hour, 7, "{bad}");
        }
        let _ = std::fs::remove_file(&file.path);
        assert!(!file.look().await);
        assert_eq!(limits.get().per_user_per_hour, 7);

        directory.write("perUserPerHour: 8");
        assert!(file.look().await);
        assert_eq!(limits.get().per_user_per_hour, 8);
        assert_eq!(limits.get().weight_of("12@N01"), DEFAULT_WEIGHT);
    }

    #[tokio::test]
    async fn without_a_file_the_defaults_hold_until_one_comes() {
        let directory = Directory::new();
        let mut file = LimitsFile::beside(&directory.0.join("config.yaml")).await;
        assert_eq!(*file.limits().get(), Limits::default());
        directory.write("pendingPerUser: 1");
        assert!(file.look().await);
        assert_eq!(file.limits().get().pending_per_user, 1);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let limits = Limits {
            weights: BTreeMap::from([("12@N01".to_owned(), 5)]),
            breaker: BreakerConfig {
                failure_percent: 20,
                ..BreakerConfig::default()
            },
            ..Limits::default()
        };
        let text = serde_yaml_ng::to_string(&limits).unwrap_or_default();
        let read = Limits::parse(Path::new("limits.yaml"), &text);
        assert_eq!(read.ok(), Some(limits));
    }
}
