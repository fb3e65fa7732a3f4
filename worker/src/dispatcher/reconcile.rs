//! Lanes from MongoDB.
//!
//! Redis is never the only copy: what the lanes hold follows from the jobs, and so do their counts. After Redis lost its
//! data (the generation marker is gone), and by a version whose lanes have another layout, they are rebuilt at once, by
//! every dispatcher that notices: each step changes nothing when it is done twice. Once a minute one dispatcher looks at
//! every queued job and puts those into their lanes that are in none: their process died between MongoDB and Redis, or a
//! failover lost the last writes. It asks for them many at a time, and writes nothing for a job that has its place. A
//! job that moved since it was read may so come into a lane once too often; its dispatch is refused, and the lane
//! forgets it.

use std::collections::HashSet;
use std::future::ready;
use std::time::Duration;

use flickrhub_job::fail_point;
use flickrhub_job::lane::{LaneEntry, LaneError};
use flickrhub_job::model::{Job, JobId, JobState};
use flickrhub_job::queue::Queue;
use flickrhub_job::telemetry::lifecycle;
use futures::stream::{self, TryChunksError};
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::apart::apart;
use super::{Dispatcher, RECONCILE_PERIOD, RecoveryError};

/// Jobs whose places are looked for at a time.
const BATCH: usize = 200;

/// Jobs that are put into their places at a time.
const AT_A_TIME: usize = 32;

/// A job that changed less than this ago is probably on its way into its lane.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// Where a queued job belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere: its time has run out.
    Expired,
    /// Its lane.
    Lane,
    /// Among the delayed, until then.
    Delayed(Timestamp),
}

fn place(job: &Job, now: Timestamp) -> Place {
    if job.expires_at <= now {
        Place::Expired
    } else if job.available_at > now {
        Place::Delayed(job.available_at)
    } else {
        Place::Lane
    }
}

/// Where a queued job has to be put; `None` when it is where it belongs.
fn due_move(job: &Job, is_missing: bool, now: Timestamp) -> Option<Place> {
    let place = place(job, now);
    (is_missing || place == Place::Expired).then_some(place)
}

impl Dispatcher {
    /// Rebuilds the lanes if Redis has lost them. Stopped in between, it leaves the rest to the next dispatcher.
    pub(super) async fn rebuild_if_lost(&self, stop: &CancellationToken) -> Result<(), RecoveryError> {
        if self.lanes.generation().await?.is_some() {
            return Ok(());
        }
        tracing::warn!("the lanes are lost or were never there; they are rebuilt from MongoDB");
        self.place_queued(Timestamp::MAX, stop).await?;
        fail_point!("rebuild/after-queued");
        self.hold_active(JobState::Dispatched, stop).await?;
        self.hold_active(JobState::Running, stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        fail_point!("rebuild/before-generation");
        // Last, so that a rebuild that was interrupted begins again. Any value will do; the id tells when.
        self.lanes.set_generation(&JobId::new().to_string()).await?;
        tracing::info!("the lanes are rebuilt");
        Ok(())
    }

    /// Puts queued jobs that are in no lane into theirs, and ends those that expired, if it is this dispatcher's turn.
    pub(super) async fn reconcile_in_turn(&self, stop: &CancellationToken) -> Result<(), RecoveryError> {
        if self.has_turn("reconcile", RECONCILE_PERIOD).await? {
            let settled = Timestamp::now().saturating_sub(FRESH).unwrap_or(Timestamp::MIN);
            self.place_queued(settled, stop).await?;
            self.delete_old_layouts().await?;
        }
        Ok(())
    }

    /// Deletes what the lanes of an earlier version left; as long as processes of that version run, again each time.
    async fn delete_old_layouts(&self) -> Result<(), RecoveryError> {
        let deleted = self.lanes.delete_old_layouts().await?;
        if deleted > 0 {
            tracing::info!(deleted, "deleted the keys of an earlier layout of the lanes");
        }
        Ok(())
    }

    /// Puts every queued job that has not changed since `unchanged_since` where it belongs, unless it is there.
    async fn place_queued(
        &self,
        unchanged_since: Timestamp,
        stop: &CancellationToken,
    ) -> Result<(), RecoveryError> {
        self.store
            .queued()
            .take_until(stop.cancelled())
            .try_filter(|job| ready(job.updated_at <= unchanged_since))
            .try_chunks(BATCH)
            .map_err(|TryChunksError(_, error)| RecoveryError::from(error))
            .try_for_each(|jobs| self.place_missing(jobs))
            .await
    }

    async fn place_missing(&self, jobs: Vec<Job>) -> Result<(), RecoveryError> {
        let mut missing = HashSet::new();
        for queue in Queue::ALL {
            let of_queue = jobs.iter().filter(|job| job.queue == queue);
            let entries: Vec<_> = of_queue.map(LaneEntry::from).collect();
            missing.extend(self.missing(queue, &entries).await?);
        }
        let now = Timestamp::now();
        let moves = jobs
            .iter()
            .filter_map(|job| Some((job, due_move(job, missing.contains(&job.id), now)?)));
        stream::iter(moves.map(Ok))
            .try_for_each_concurrent(AT_A_TIME, |(job, place)| async move {
                apart(job, self.place(job, place)).await.map(drop)
            })
            .await
    }

    /// Which of these jobs of `queue` have no place in the lanes; all of them when the lanes cannot tell, since putting a job
    /// where it is already changes nothing.
    async fn missing(&self, queue: Queue, entries: &[LaneEntry]) -> Result<HashSet<JobId>, LaneError> {
        match self.lanes.missing(queue, entries).await {
            Err(error) if !error.is_transient() => {
                tracing::error!(%error, queue = queue.name(), "the lanes cannot tell which jobs they lack");
                Ok(entries.iter().map(|entry| entry.job_id).collect())
            }
            told => told,
        }
    }

    async fn place(&self, job: &Job, place: Place) -> Result<(), RecoveryError> {
        let entry = LaneEntry::from(job);
        match place {
            Place::Lane => self.lanes.push(&entry).await?,
            Place::Delayed(until) => self.lanes.push_delayed(&entry, until).await?,
            Place::Expired => {
                if let Some(expired) = self.store.expire_if_due(job.id).await? {
                    lifecycle::report(&expired, &self.metrics);
                    self.lanes.done(&entry).await?;
                }
            }
        }
        Ok(())
    }

    /// Counts the jobs that are with the workers as in the window.
    async fn hold_active(&self, state: JobState, stop: &CancellationToken) -> Result<(), RecoveryError> {
        self.store
            .unfinished(state)
            .take_until(stop.cancelled())
            .map_err(RecoveryError::from)
            .try_for_each_concurrent(AT_A_TIME, |job| async move {
                apart(&job, self.hold(&job)).await.map(drop)
            })
            .await
    }

    async fn hold(&self, job: &Job) -> Result<(), RecoveryError> {
        let left = job
            .lease_until
            .map(|until| until.duration_since(Timestamp::now()));
        let left = left.and_then(|left| Duration::try_from(left).ok());
        self.lanes
            .hold(&LaneEntry::from(job), left.unwrap_or_default())
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::fixtures::job;

    #[test]
    fn a_queued_job_belongs_where_its_times_say() {
        let now = Timestamp::now();
        assert_eq!(place(&job().available_at(now).build(), now), Place::Lane);
        let later = now + 1.minute();
        assert_eq!(
            place(&job().available_at(later).build(), now),
            Place::Delayed(later)
        );
        assert_eq!(
            place(&job().available_at(later).expires_at(now).build(), now),
            Place::Expired
        );
    }

    #[test]
    fn a_job_that_is_where_it_belongs_is_left_alone_unless_its_time_has_run_out() {
        let now = Timestamp::now();
        let waiting = job().available_at(now).build();
        assert_eq!(due_move(&waiting, false, now), None);
        assert_eq!(due_move(&waiting, true, now), Some(Place::Lane));
        let late = job().expires_at(now).build();
        assert_eq!(due_move(&late, false, now), Some(Place::Expired));
    }
}
