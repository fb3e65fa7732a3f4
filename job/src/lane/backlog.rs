//! How much work there is for the workers of a queue: what they are scaled by.
//!
//! Whoever scales workers is no process of the hub and has a connection of its own, so this asks on any connection, that of
//! a replica too: it only reads.

use redis::RedisError;
use redis::aio::ConnectionLike;

use super::scripts;
use crate::queue::Queue;

/// Most parked lanes that are counted, so that one look never blocks Redis for long. Jobs in further ones count as
/// [`waiting`](Backlog::waiting).
const MAX_PARKED: usize = 10_000;

/// The unfinished jobs of a queue, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// In the window: released to the workers and not finished. What runs is among them.
    pub inflight: u64,
    /// In lanes that may be released from as soon as there is room.
    pub waiting: u64,
    /// In lanes whose user has no room in its budget at the moment.
    pub parked: u64,
    /// Until the time of their next attempt.
    pub delayed: u64,
}

impl Backlog {
    /// The jobs that more workers would finish sooner, where `window` jobs may be released at a time and a worker runs
    /// `concurrency` of them.
    ///
    /// What is in the window counts. What waits in lanes counts only while the window has less room than one worker takes:
    /// with more room, it waits for something that no worker can give, such as the budget of the Flickr application, a
    /// circuit that is open, or a dispatcher. What is parked or delayed waits for its time, and counts when that has come.
    pub const fn jobs(&self, window: u32, concurrency: u32) -> u64 {
        let room = (window as u64).saturating_sub(self.inflight);
        if room < concurrency as u64 {
            self.inflight.saturating_add(self.waiting)
        } else {
            self.inflight
        }
    }
}

/// Looks at a queue under a prefix of keys, at one moment. `None` while nobody knows: Redis has lost the lanes, or never had
/// them, and the dispatcher has yet to build them from MongoDB.
///
/// # Errors
/// When Redis fails.
pub async fn backlog<C>(connection: &mut C, prefix: &str, queue: Queue) -> Result<Option<Backlog>, RedisError>
where
    C: ConnectionLike + Send,
{
    let mut call = scripts::BACKLOG.prepare_invoke();
    call.arg(prefix).arg(queue.name()).arg(MAX_PARKED);
    let (generation, jobs, reserved, delayed, inflight, parked): (Option<String>, u64, u64, u64, u64, u64) =
        call.invoke_async(connection).await?;
    let in_lanes = jobs.saturating_sub(reserved.saturating_add(delayed).saturating_add(inflight));
    Ok(generation.map(|_| Backlog {
        inflight,
        waiting: in_lanes.saturating_sub(parked),
        parked,
        delayed,
    }))
}

/// The key, under a prefix, of the sorted set whose size is the number of jobs in the window of a queue. For KEDA, which can
/// read no more than the size of one key.
pub fn window_key(prefix: &str, queue: Queue) -> String {
    format!("{prefix}{}:inflight:{}", super::lanes::LAYOUT, queue.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = 64;
    const CONCURRENCY: u32 = 8;

    fn jobs(inflight: u64, waiting: u64) -> u64 {
        let backlog = Backlog {
            inflight,
            waiting,
            parked: 1000,
            delayed: 1000,
        };
        backlog.jobs(WINDOW, CONCURRENCY)
    }

    #[test]
    fn what_waits_for_a_place_in_the_window_is_work_for_more_workers() {
        assert_eq!(jobs(64, 500), 564);
        assert_eq!(
            jobs(57, 500),
            557,
            "a place that has just become free changes nothing"
        );
    }

    #[test]
    fn what_waits_although_the_window_has_room_waits_for_no_worker() {
        assert_eq!(jobs(56, 500), 56);
        assert_eq!(jobs(0, 500), 0);
    }

    #[test]
    fn what_runs_counts_and_what_waits_for_its_time_does_not() {
        assert_eq!(jobs(3, 0), 3);
        assert_eq!(jobs(0, 0), 0);
        assert_eq!(jobs(100, 1), 101, "the window was made smaller");
    }
}
