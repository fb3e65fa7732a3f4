//! What happened, as data: what clients sent and were told, what the API and Flickr say of it.
//!
//! A job is known by the trace id of the request that made it: each request has one of its own, and the hub hands it on to
//! every call of Flickr. What was asked for is known by a marker among its arguments, or by the content of its photo.

use std::collections::BTreeMap;

use flickrhub_job::limits::RequestClass;
use serde::Serialize;

/// What a job does at Flickr, as far as a second time matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A call that only reads.
    Read,
    /// A write that a second, identical call leaves as it is.
    Set,
    /// A write that would act again.
    Create,
    /// A new photo.
    Upload,
    /// New content for a photo.
    Replace,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Read, Self::Set, Self::Create, Self::Upload, Self::Replace];

    /// How often the effect of one job may happen.
    pub const fn effects(self) -> Effects {
        match self {
            Self::Read => Effects::None,
            Self::Set | Self::Replace => Effects::Repeatable,
            Self::Create | Self::Upload => Effects::Once,
        }
    }

    /// What its jobs are limited as.
    pub const fn class(self) -> RequestClass {
        match self {
            Self::Read => RequestClass::Read,
            Self::Set | Self::Create => RequestClass::Write,
            Self::Upload | Self::Replace => RequestClass::Upload,
        }
    }

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Set => "set",
            Self::Create => "create",
            Self::Upload => "upload",
            Self::Replace => "replace",
        }
    }
}

/// How often the effect of one job may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    /// It has none.
    None,
    /// Once or more: the second leaves everything as the first did.
    Repeatable,
    /// At most once.
    Once,
}

/// Something that a client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The Flickr user.
    pub user: String,
    /// What it does.
    pub kind: Kind,
    /// Among the arguments of its calls, and of no other's.
    pub marker: String,
    /// SHA-256 of its photo, in hexadecimal, which no other has.
    pub content: Option<String>,
    /// Whether it asked for a callback.
    pub callback: bool,
    /// Its requests, in order. All have the same idempotency key.
    pub attempts: Vec<Attempt>,
}

/// One request that submits a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The trace id that it was sent with; no other request has it.
    pub trace_id: String,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: i64,
    /// When it was answered or given up.
    pub ended_ms: i64,
    /// What the client was told.
    pub answer: Answer,
}

/// What a client was told about a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 202.
    Accepted {
        /// The job.
        job_id: String,
    },
    /// It was surely not accepted.
    Refused {
        /// The status.
        status: u16,
        /// The stable code of the problem; empty where there was none.
        code: String,
    },
    /// Nobody said: no answer, or one that leaves it open.
    Unknown {
        /// What there was instead of an answer.
        reason: String,
    },
}

/// A job as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenJob {
    /// Identity.
    pub id: String,
    /// The trace of the request that made it.
    pub trace_id: String,
    /// The Flickr user.
    pub user: String,
    /// Its state.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// How often it was tried.
    pub attempts: u64,
    /// Its result as JSON text; empty without one.
    pub result: String,
    /// The state of its callback.
    pub callback: Option<String>,
}

/// Whether a state is one that a job stays in.
pub fn is_final(state: &str) -> bool {
    ["succeeded", "failed", "dead", "expired", "cancelled"].contains(&state)
}

/// A state in which somebody saw a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The job.
    pub job_id: String,
    /// Its state then.
    pub state: String,
}

/// A call that Flickr saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When, by Flickr's clock, in milliseconds since 1970.
    pub time_ms: i64,
    /// The API method, `upload` or `replace`.
    pub method: String,
    /// Whose token it had.
    pub user: Option<String>,
    /// Which application made it.
    pub app: Option<String>,
    /// The trace that it belongs to.
    pub trace_id: Option<String>,
    /// The text of its arguments.
    pub arguments: Vec<String>,
    /// SHA-256 of its photo.
    pub content: Option<String>,
    /// The status that was sent; 0 when the connection was cut instead.
    pub status: u16,
    /// What it changed.
    pub effect: Option<String>,
}

impl Call {
    /// Whether it is a step of signing in, or the page on which a person agrees.
    pub fn is_sign_in(&self) -> bool {
        let steps = [
            "request_token",
            "authorize",
            "access_token",
            "flickr.auth.oauth.checkToken",
        ];
        steps.contains(&self.method.as_str())
    }

    /// Whether Flickr counts it: the page on which a person agrees is for browsers.
    pub fn is_counted(&self) -> bool {
        self.method != "authorize"
    }
}

/// A callback that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The job that it says it is about.
    pub job_id: String,
    /// The identity that the receiver tells repetitions by.
    pub webhook_id: String,
    /// The state that it tells.
    pub state: String,
    /// What was answered.
    pub status: u16,
}

/// What the hub was told to keep to for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Since when, in milliseconds since 1970.
    pub from_ms: i64,
    /// Until when: from then on more may have been allowed.
    pub until_ms: i64,
    /// Requests to Flickr with one application key, in any window.
    pub per_app: usize,
    /// Requests to Flickr with one user's token, and accepted jobs of one user, in any window.
    pub per_user: usize,
    /// Accepted jobs of one user in each class, as [`RequestClass::ALL`] has them, in any window.
    pub per_class: [usize; 3],
}

impl Limits {
    /// No limit, ever.
    pub const NONE: Self = Self {
        from_ms: i64::MIN,
        until_ms: i64::MAX,
        per_app: usize::MAX,
        per_user: usize::MAX,
        per_class: [usize::MAX; 3],
    };

    /// Accepted jobs of one user in this class, in any window.
    pub const fn of_class(&self, class: RequestClass) -> usize {
        let [read, write, upload] = self.per_class;
        match class {
            RequestClass::Read => read,
            RequestClass::Write => write,
            RequestClass::Upload => upload,
        }
    }
}

/// What Redis may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Everything: it was emptied.
    Everything,
    /// The last writes: another member may have become the master.
    Last,
}

/// A time in which Redis may have lost writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The earliest moment whose writes may be lost though those before are not (or, of everything, when it may have begun).
    pub from_ms: i64,
    /// From when on nothing is lost by it.
    pub to_ms: i64,
    /// What.
    pub lost: Lost,
}

/// Everything that a run knows at its end.
#[derive(Clone, Debug)]
pub struct History {
    /// What clients wanted.
    pub operations: Vec<Operation>,
    /// What watchers saw of jobs on their way, in order.
    pub sightings: Vec<Sighting>,
    /// Each accepted job read by itself after everything came to rest; absent when the API does not know it.
    pub rested: BTreeMap<String, SeenJob>,
    /// The same, some time later.
    pub later: BTreeMap<String, SeenJob>,
    /// What the list of each user's jobs says, page after page.
    pub listed: Vec<SeenJob>,
    /// Every call that Flickr saw, in order.
    pub calls: Vec<Call>,
    /// Every callback that was received.
    pub deliveries: Vec<Delivery>,
    /// Jobs that another client could read or list.
    pub leaked: Vec<String>,
    /// The limits, in the order of their times; none allows less than the one before it.
    pub limits: Vec<Limits>,
    /// The length of the sliding window of all limits in milliseconds.
    pub window_ms: i64,
    /// When Redis may have lost writes, in the order of their times.
    pub losses: Vec<Loss>,
}

#[cfg(test)]
impl History {
    /// One in which nothing has happened yet.
    pub(crate) fn of_nothing(limits: Vec<Limits>, window_ms: i64) -> Self {
        Self {
            operations: Vec::new(),
            sightings: Vec::new(),
            rested: BTreeMap::new(),
            later: BTreeMap::new(),
            listed: Vec::new(),
            calls: Vec::new(),
            deliveries: Vec::new(),
            leaked: Vec::new(),
            limits,
            window_ms,
            losses: Vec::new(),
        }
    }
}
