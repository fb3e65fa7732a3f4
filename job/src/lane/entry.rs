//! What goes into the lanes and what comes out.

use jiff::Timestamp;

use crate::model::{Job, JobId, Priority};
use crate::queue::Queue;

/// What one priority is ahead of the next in the score of a job; no time of acceptance in milliseconds reaches it
/// before the year 2286.
const RANK: i64 = 10_000_000_000_000;

/// What the lanes know of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEntry {
    /// The queue.
    pub queue: Queue,
    /// The Flickr application whose budget the job uses.
    pub app: String,
    /// The Flickr user (NSID); each has one lane in each queue.
    pub user_id: String,
    /// The job.
    pub job_id: JobId,
    /// The order within the lane.
    pub priority: Priority,
    /// The user's share of the queue relative to other users'; at least 1.
    pub weight: u32,
    /// When the job was accepted: the order within the priority.
    pub created_at: Timestamp,
}

impl From<&Job> for LaneEntry {
    fn from(job: &Job) -> Self {
        Self {
            queue: job.queue,
            app: job.app.clone(),
            user_id: job.user_id.clone(),
            job_id: job.id,
            priority: job.priority,
            weight: job.weight,
            created_at: job.created_at,
        }
    }
}

impl LaneEntry {
    /// The place in the lane; the least goes first.
    fn score(&self) -> i64 {
        let rank = match self.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        };
        rank * RANK + self.created_at.as_millisecond()
    }

    /// The value in `entries`: `score|weight|user`. The user comes last, so it may hold any character.
    pub(super) fn encode(&self) -> String {
        format!("{}|{}|{}", self.score(), self.weight, self.user_id)
    }
}

/// A job that left its lane and is in the window now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The job.
    pub job_id: JobId,
    /// Its user.
    pub user_id: String,
}

/// How much waits in one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneDepth {
    /// Jobs in lanes.
    pub queued: u64,
    /// Jobs that wait for the time of their next attempt.
    pub delayed: u64,
    /// Jobs in the window.
    pub inflight: u64,
    /// Jobs that were admitted and not pushed.
    pub reserved: u64,
    /// The users with the most jobs in their lane, most first; at most [`HEAVIEST`](super::HEAVIEST).
    pub heaviest: Vec<(String, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(priority: Priority, created_at: Timestamp) -> LaneEntry {
        LaneEntry {
            queue: Queue::Rest,
            app: "main".to_owned(),
            user_id: "12345678@N00".to_owned(),
            job_id: JobId::new(),
            priority,
            weight: 1,
            created_at,
        }
    }

    #[test]
    fn priority_comes_before_the_time_of_acceptance() {
        let now = Timestamp::now();
        let late = now + jiff::SignedDuration::from_hours(24 * 365);
        assert!(entry(Priority::High, late).score() < entry(Priority::Normal, now).score());
        assert!(entry(Priority::Normal, late).score() < entry(Priority::Low, now).score());
        assert!(entry(Priority::Normal, now).score() < entry(Priority::Normal, late).score());
    }

    #[test]
    fn an_entry_ends_with_its_user() {
        let entry = entry(Priority::Low, Timestamp::UNIX_EPOCH);
        assert_eq!(entry.encode(), "20000000000000|1|12345678@N00");
    }
}
