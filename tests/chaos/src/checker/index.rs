//! A history by trace id, marker and content.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::history::{Answer, Attempt, Call, History, Operation, SeenJob};

/// What belongs together.
pub(super) struct Index<'a> {
    /// The operation and the request of each trace id.
    pub(super) by_trace: HashMap<&'a str, (&'a Operation, &'a Attempt)>,
    /// The operation of each marker.
    by_marker: HashMap<&'a str, &'a Operation>,
    /// The operation of each photo's content.
    by_content: HashMap<&'a str, &'a Operation>,
    /// The calls of each trace id.
    pub(super) calls: HashMap<&'a str, Vec<&'a Call>>,
    /// Every job that anybody knows of, as it was seen last.
    pub(super) jobs: BTreeMap<&'a str, &'a SeenJob>,
    /// Every job that a client was told is accepted.
    pub(super) accepted: BTreeSet<&'a str>,
}

impl<'a> Index<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut index = Self {
            by_trace: HashMap::new(),
            by_marker: HashMap::new(),
            by_content: HashMap::new(),
            calls: HashMap::new(),
            jobs: BTreeMap::new(),
            accepted: BTreeSet::new(),
        };
        for operation in &history.operations {
            index.by_marker.insert(&operation.marker, operation);
            if let Some(content) = &operation.content {
                index.by_content.insert(content, operation);
            }
            for attempt in &operation.attempts {
                index.by_trace.insert(&attempt.trace_id, (operation, attempt));
                if let Answer::Accepted { job_id } = &attempt.answer {
                    index.accepted.insert(job_id);
                }
            }
        }
        for call in &history.calls {
            if let Some(trace) = &call.trace_id {
                index.calls.entry(trace).or_default().push(call);
            }
        }
        for job in history.listed.iter().chain(history.later.values()) {
            index.jobs.insert(&job.id, job);
        }
        index
    }

    /// The operation that a job belongs to.
    pub(super) fn operation_of(&self, job: &SeenJob) -> Option<&'a Operation> {
        self.by_trace
            .get(job.trace_id.as_str())
            .map(|(operation, _)| *operation)
    }

    /// The calls of a trace id.
    pub(super) fn calls_of(&self, trace_id: &str) -> &[&'a Call] {
        self.calls.get(trace_id).map_or(&[], Vec::as_slice)
    }

    /// The operation whose marker or photo a call carries.
    pub(super) fn asked_by(&self, call: &Call) -> Option<&'a Operation> {
        let by_content = call
            .content
            .as_deref()
            .and_then(|content| self.by_content.get(content));
        let by_marker = || {
            call.arguments
                .iter()
                .find_map(|argument| self.by_marker.get(argument.as_str()))
        };
        by_content.or_else(by_marker).copied()
    }
}
