//! Bulkheads: what fills one queue holds up no other one, and a queue has no more under way than its workers may.

use std::time::Duration;

use flickrhub_flickr_mock::fault::{Kind, Rule};
use flickrhub_job::model::{Job, JobState};
use futures::future::join_all;

use crate::hub::{CONCURRENCY, Hub, eventually};
use crate::{SEARCH, TURN};

const PHOTO: &[u8] = b"\xff\xd8\xff\xe0 wasps";
const SLOW: Duration = Duration::from_secs(3);

impl Hub {
    async fn in_state(&self, jobs: &[Job], state: JobState) -> usize {
        let stored = join_all(jobs.iter().map(|job| self.jobs.get(job.id))).await;
        let stored = stored.into_iter().filter_map(|job| job.unwrap());
        stored.filter(|job| job.state == state).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_queue_whose_calls_hang_keeps_to_its_places_and_an_upload_passes_it() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let ms = u64::try_from(SLOW.as_millis()).unwrap();
    hub.flickr.add_fault(Rule::new(SEARCH, Kind::Slow { ms }));
    let places = usize::try_from(CONCURRENCY).unwrap();
    let calls: Vec<Job> = (0..3 * places)
        .map(|number| hub.job(SEARCH, &[("text", &format!("bee {number}"))]))
        .collect();
    for job in &calls {
        hub.submit(job).await;
    }
    eventually(async || {
        let running = hub.in_state(&calls, JobState::Running).await;
        assert!(running <= places, "{running} run at a time");
        (running == places).then_some(())
    })
    .await;

    let uploaded = hub.run(&hub.upload(PHOTO).await).await;
    assert_eq!(uploaded.state, JobState::Succeeded, "{:?}", uploaded.error);
    let over = hub.in_state(&calls, JobState::Succeeded).await;
    assert!(over < calls.len(), "the upload waited for every call");

    for job in &calls {
        let over = hub.once(job.id, |job| job.state.is_final()).await;
        assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    }
    let mut arrivals: Vec<i64> = hub.calls(SEARCH).iter().map(|call| call.time_ms).collect();
    arrivals.sort_unstable();
    assert_eq!(arrivals.len(), calls.len());
    // One more than there are places can only be under way when the first of them has its answer.
    for (first, next) in arrivals.iter().zip(&arrivals[places..]) {
        assert!(u64::try_from(next - first).unwrap() >= ms, "{arrivals:?}");
    }
    hub.stop().await;
}
