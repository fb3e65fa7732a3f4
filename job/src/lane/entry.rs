//! What goes into the lanes and what comes out.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{Job, JobId, Priority};
use crate::queue::Queue;

/// What one priority is behind the one before in the score of a job. Under it there are 41 bits for the time of
/// acceptance and 10 for the weight, so that every score is a whole number that a double holds exactly.
const RANK: i64 = 1 << 51;
/// What one millisecond of acceptance counts.
const ACCEPTED: i64 = 1 << 10;
/// Times of acceptance count from here, 2020, in milliseconds since 1970: so they last until 2089.
const SINCE: i64 = 1_577_836_800_000;
/// The greatest weight of a user.
const MAX_WEIGHT: u32 = 1000;

/// What the lanes know of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEntry {
    /// The queue.
    pub queue: Queue,
    /// The Flickr application whose budget the job uses; a name without `:` and `|`.
    pub app: String,
    /// The Flickr user (NSID); each has one lane in each queue and application.
    pub user_id: String,
    /// The job.
    pub job_id: JobId,
    /// The order within the lane.
    pub priority: Priority,
    /// The user's share of the queue relative to other users', 1 to 1000. A lane has the weight of the job in it that was
    /// accepted last.
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
    /// The place in the lane, where the least of its priority goes first; and what the lane needs to know of the job.
    fn score(&self) -> i64 {
        let rank = match self.priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        };
        let accepted = (self.created_at.as_millisecond() - SINCE).clamp(0, RANK / ACCEPTED - 1);
        let weight = self.weight.clamp(1, MAX_WEIGHT);
        rank * RANK + accepted * ACCEPTED + i64::from(weight)
    }

    /// The value in `entries`: `score|application|user`. The user comes last, so it may hold any character.
    pub(super) fn encode(&self) -> String {
        format!("{}|{}|{}", self.score(), self.app, self.user_id)
    }
}

/// What one release gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// The jobs, in the order of their turns.
    pub jobs: Vec<Released>,
    /// In how long there may be more, if nothing wakes a dispatcher before: zero when there may be more at once, `None`
    /// when nothing comes due by itself.
    pub next_due: Option<Duration>,
}

/// A job that left its lane and is in the window now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The job.
    pub job_id: JobId,
    /// The Flickr application whose budget it uses.
    pub app: String,
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
    /// Lanes that wait until their user has room.
    pub parked: u64,
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
    fn a_score_is_exact_as_a_double_at_all_times() {
        let mut last = entry(Priority::Low, Timestamp::MAX);
        last.weight = u32::MAX;
        assert!(last.score() < 1 << 53);
        let first = entry(Priority::High, Timestamp::MIN);
        assert_eq!(first.score(), 1);
    }

    #[test]
    fn an_entry_ends_with_its_user() {
        let entry = entry(Priority::Low, Timestamp::UNIX_EPOCH);
        assert_eq!(entry.encode(), "4503599627370497|main|12345678@N00");
    }
}
