//! A queue whose lanes are the oracle's, with a way to fill them.

use std::collections::BTreeMap;

use flickrhub_job::lane::{LaneEntry, Released};
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;

use crate::oracle::{Limit, NextDue, Oracle};

pub(crate) const QUEUE: Queue = Queue::Rest;
const WIDE_OPEN: u32 = 1_000_000;

/// A job accepted so many milliseconds after some time.
pub(crate) fn entry(app: &str, user: &str, weight: u32, priority: Priority, number: i64) -> LaneEntry {
    LaneEntry {
        queue: QUEUE,
        app: app.to_owned(),
        user_id: user.to_owned(),
        job_id: JobId::new(),
        priority,
        weight,
        created_at: Timestamp::from_millisecond(1_700_000_000_000 + number).unwrap(),
    }
}

/// One queue.
#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) oracle: Oracle,
    entries: BTreeMap<JobId, LaneEntry>,
    accepted: i64,
}

impl Hub {
    pub(crate) fn push(&mut self, app: &str, user: &str, weight: u32, jobs: usize) {
        self.push_with(app, user, weight, Priority::Normal, jobs);
    }

    pub(crate) fn push_with(&mut self, app: &str, user: &str, weight: u32, priority: Priority, jobs: usize) {
        for _ in 0..jobs {
            self.accepted += 1;
            let entry = entry(app, user, weight, priority, self.accepted);
            self.oracle.push(&entry);
            self.entries.insert(entry.job_id, entry);
        }
    }

    /// Releases, and has the jobs done at once.
    pub(crate) fn release(&mut self, max: usize) -> Vec<Released> {
        let (released, _) = self.oracle.release(QUEUE, max, WIDE_OPEN, false);
        for job in &released {
            self.done(job);
        }
        released
    }

    /// Releases into a window from which jobs leave only when they are done.
    pub(crate) fn release_into(&mut self, max: usize, window: u32) -> (Vec<Released>, NextDue) {
        self.oracle.release(QUEUE, max, window, false)
    }

    pub(crate) fn done(&mut self, job: &Released) -> LaneEntry {
        let entry = self.entries.remove(&job.job_id).unwrap();
        self.oracle.done(&entry);
        entry
    }

    /// Releases jobs one by one, each of which is followed by another one like it: every lane stays busy. How often
    /// each user was served.
    pub(crate) fn keep_busy(&mut self, dispatches: usize) -> BTreeMap<String, usize> {
        let mut served = BTreeMap::new();
        for _ in 0..dispatches {
            let (released, _) = self.oracle.release(QUEUE, 1, WIDE_OPEN, false);
            for job in &released {
                *served.entry(job.user_id.clone()).or_default() += 1;
                let last = self.done(job);
                self.push_with(&last.app, &last.user_id, last.weight, last.priority, 1);
            }
        }
        served
    }

    pub(crate) fn limit_app(&mut self, app: &str, requests: Option<u64>) {
        let limit = requests.map(|requests| Limit {
            requests,
            soon: false,
        });
        self.oracle.limit_app(app, limit);
    }

    pub(crate) fn limit_user(&mut self, app: &str, user: &str, requests: Option<u64>, soon: bool) {
        let limit = requests.map(|requests| Limit { requests, soon });
        self.oracle.limit_user(app, user, limit);
    }
}
