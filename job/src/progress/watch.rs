//! Who watches which job in this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::notice::Notice;
use crate::model::JobId;

/// The watched jobs, each with what wakes those who watch it.
#[derive(Default)]
pub(super) struct Watchers {
    jobs: Mutex<HashMap<JobId, watch::Sender<()>>>,
}

impl Watchers {
    pub(super) fn watch(watchers: &Arc<Self>, job_id: JobId) -> Watch {
        let woken = match watchers.jobs().entry(job_id) {
            Entry::Occupied(watched) => watched.get().subscribe(),
            Entry::Vacant(place) => place.insert(watch::Sender::new(())).subscribe(),
        };
        Watch {
            job_id,
            woken,
            watchers: Arc::clone(watchers),
        }
    }

    /// Wakes those who watch the job.
    pub(super) fn wake(&self, notice: Notice) {
        if let Some(watched) = self.jobs().get(&notice.job_id) {
            watched.send_replace(());
        }
    }

    /// Wakes everybody: notices may have been lost.
    pub(super) fn wake_all(&self) {
        for watched in self.jobs().values() {
            watched.send_replace(());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs().len()
    }

    /// A panic while the lock was held leaves the map as good as it was.
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<()>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches one job, until it is dropped. It holds some bytes of this process and nothing of any server.
pub struct Watch {
    job_id: JobId,
    woken: watch::Receiver<()>,
    watchers: Arc<Watchers>,
}

impl Watch {
    /// Waits until the job may have moved since the last call (the first time: since the watch began), at most `patience`.
    ///
    /// Cancelling the call loses nothing.
    pub async fn moved(&mut self, patience: Duration) {
        // The sender lives as long as this does.
        let _ = timeout(patience, self.woken.changed()).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut jobs = self.watchers.jobs();
        // The receiver is still there: one means nobody else.
        if jobs
            .get(&self.job_id)
            .is_some_and(|watched| watched.receiver_count() <= 1)
        {
            jobs.remove(&self.job_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::progress::Move;

    const BRIEFLY: Duration = Duration::from_millis(50);

    fn over(job_id: JobId) -> Notice {
        Notice {
            job_id,
            to: Move::Over,
        }
    }

    async fn is_woken(watch: &mut Watch) -> bool {
        let start = Instant::now();
        watch.moved(BRIEFLY).await;
        start.elapsed() < BRIEFLY
    }

    #[tokio::test]
    async fn a_notice_wakes_those_who_watch_its_job_and_nobody_else() {
        let watchers = Arc::new(Watchers::default());
        let (job, other) = (JobId::new(), JobId::new());
        let mut one = Watchers::watch(&watchers, job);
        let mut two = Watchers::watch(&watchers, job);
        let mut stranger = Watchers::watch(&watchers, other);
        watchers.wake(over(job));
        assert!(is_woken(&mut one).await);
        assert!(is_woken(&mut two).await);
        assert!(!is_woken(&mut one).await, "one notice wakes once");
        assert!(!is_woken(&mut stranger).await);
        watchers.wake_all();
        assert!(is_woken(&mut stranger).await);
    }

    #[tokio::test]
    async fn a_notice_that_comes_before_the_wait_is_not_lost() {
        let watchers = Arc::new(Watchers::default());
        let job = JobId::new();
        let mut watch = Watchers::watch(&watchers, job);
        watchers.wake(over(job));
        assert!(is_woken(&mut watch).await);
    }

    #[tokio::test]
    async fn a_job_that_nobody_watches_any_more_takes_no_room() {
        let watchers = Arc::new(Watchers::default());
        let job = JobId::new();
        let (one, two) = (Watchers::watch(&watchers, job), Watchers::watch(&watchers, job));
        drop(one);
        assert_eq!(watchers.len(), 1);
        drop(two);
        assert_eq!(watchers.len(), 0);
        watchers.wake(over(job));
    }
}
