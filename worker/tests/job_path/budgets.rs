//! Budgets and circuit breakers on the path of a job.

use std::time::Duration;

use flickrhub_flickr_mock::fault::{Kind, Rule};
use flickrhub_job::budget::{CircuitState, Endpoint};
use flickrhub_job::model::{Job, JobState};
use futures::future::join_all;

use super::hub::{Hub, eventually};
use super::{SEARCH, TURN};

impl Hub {
    fn jobs_of_both(&self, each: usize) -> (Vec<Job>, Vec<Job>) {
        let jobs = |user_id: &str, app: &str| -> Vec<Job> {
            (0..each)
                .map(|number| Job {
                    user_id: user_id.to_owned(),
                    app: app.to_owned(),
                    // Each has to ask Flickr.
                    no_cache: true,
                    ..self.job(SEARCH, &[("text", &format!("bee {number}"))])
                })
                .collect()
        };
        (
            jobs(&self.user_id, &self.apps[0]),
            jobs(&self.other_user_id, &self.apps[1]),
        )
    }

    async fn all_over(&self, jobs: &[Job]) -> Vec<Job> {
        join_all(
            jobs.iter()
                .map(|job| self.once(job.id, |job| job.state.is_final())),
        )
        .await
    }

    async fn until_circuit_is(&self, app: &str, wished: CircuitState) {
        eventually(async || {
            let standing = self.budget.look(app, None).await.unwrap();
            (standing.circuit(Endpoint::Rest).state == wished).then_some(())
        })
        .await;
    }

    fn times_of(&self, key: &str) -> Vec<i64> {
        let of_key = |key_of: &Option<String>| key_of.as_deref() == Some(key);
        let calls = self.calls(SEARCH).into_iter();
        calls
            .filter(|entry| of_key(&entry.consumer_key))
            .map(|entry| entry.time_ms)
            .collect()
    }
}

fn all_succeeded(jobs: &[Job]) {
    for job in jobs {
        assert_eq!(job.state, JobState::Succeeded, "{:?}", job.error);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_429_opens_the_circuit_of_its_application_and_one_probe_closes_it() {
    let _turn = TURN.lock().await;
    let hub = Hub::start_with(|settings| settings.breaker.open_seconds = 2).await;
    let (ours, others) = hub.jobs_of_both(6);
    let limited = Kind::HttpStatus {
        status: 429,
        retry_after: Some(3),
    };
    let mut of_us = Rule::new(SEARCH, limited).times(1);
    of_us.matcher.user = Some(hub.user_id.clone());
    hub.flickr.add_fault(of_us);
    hub.submit(&ours[0]).await;
    hub.until_circuit_is(&hub.apps[0], CircuitState::Open).await;
    for job in ours[1..].iter().chain(&others) {
        hub.submit(job).await;
    }
    all_succeeded(&hub.all_over(&others).await);
    all_succeeded(&hub.all_over(&ours).await);
    hub.until_circuit_is(&hub.apps[0], CircuitState::Closed).await;
    let calls = hub.times_of("test-consumer-key");
    assert_eq!(calls.len(), 1 + ours.len());
    assert!(
        calls[1] - calls[0] >= 3000,
        "Retry-After was not honoured: {calls:?}"
    );
    // No try was counted for those that only waited.
    let waited = hub.jobs.get(ours[5].id).await.unwrap().unwrap();
    assert_eq!(waited.tries, 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn failures_open_the_circuit_and_no_job_dies_while_flickr_is_away() {
    let _turn = TURN.lock().await;
    let hub = Hub::start_with(|settings| {
        settings.breaker.min_requests = 4;
        settings.breaker.open_seconds = 1;
        settings.breaker.longest_open_seconds = 2;
    })
    .await;
    let (ours, others) = hub.jobs_of_both(12);
    let mut away = Rule::new(
        SEARCH,
        Kind::HttpStatus {
            status: 503,
            retry_after: None,
        },
    );
    away.matcher.user = Some(hub.user_id.clone());
    hub.flickr.add_fault(away);
    for job in ours.iter().chain(&others) {
        hub.submit(job).await;
    }
    all_succeeded(&hub.all_over(&others).await);
    hub.until_circuit_is(&hub.apps[0], CircuitState::Open).await;
    let before = hub.times_of("test-consumer-key").len();
    tokio::time::sleep(Duration::from_secs(6)).await;
    // Probes alone, each of them after a second or two.
    let during = hub.times_of("test-consumer-key").len() - before;
    assert!((1..=6).contains(&during), "{during} requests in 6 s");
    hub.flickr.clear_faults();
    let over = hub.all_over(&ours).await;
    hub.until_circuit_is(&hub.apps[0], CircuitState::Closed).await;
    let dead = over.iter().filter(|job| job.state == JobState::Dead).count();
    // Only a job that was the probe again and again can have used up its tries.
    assert!(dead <= 3, "{dead} of {} jobs died", over.len());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn jobs_wait_for_their_budget_and_no_window_is_over() {
    const LIMIT: u32 = 10;
    const SPAN_MS: i64 = 4000;
    let _turn = TURN.lock().await;
    let hub = Hub::start_with(|settings| {
        settings.span = Duration::from_millis(SPAN_MS.unsigned_abs());
        for limit in settings.apps.values_mut() {
            *limit = LIMIT;
        }
    })
    .await;
    let (ours, others) = hub.jobs_of_both(25);
    for job in ours.iter().chain(&others) {
        hub.submit(job).await;
    }
    for jobs in [&ours, &others] {
        let over = hub.all_over(jobs).await;
        all_succeeded(&over);
        assert!(over.iter().all(|job| job.tries == 1));
    }
    for key in ["test-consumer-key", "other-consumer-key"] {
        let calls = hub.times_of(key);
        assert_eq!(calls.len(), 25);
        // A window shorter than the span by what may lie between a permit and its request on a busy machine.
        let most = calls
            .iter()
            .map(|first| {
                calls
                    .iter()
                    .filter(|call| (0..SPAN_MS - 1000).contains(&(*call - first)))
                    .count()
            })
            .max();
        assert!(most <= Some(10), "{most:?} requests in one window: {calls:?}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn budgets_are_rebuilt_from_the_jobs_after_redis_lost_them() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let (ours, _) = hub.jobs_of_both(5);
    for job in &ours {
        hub.submit(job).await;
    }
    all_succeeded(&hub.all_over(&ours).await);
    hub.forget_in_redis(&[
        "budget:server".to_owned(),
        "budget:settings".to_owned(),
        "apps".to_owned(),
        format!("budget:app:{}", hub.apps[0]),
        format!("budget:user:{}", hub.user_id),
    ])
    .await;
    let standing = eventually(async || {
        let standing = hub.budget.look(&hub.apps[0], Some(&hub.user_id)).await.unwrap();
        standing.whole.then_some(standing)
    })
    .await;
    assert_eq!(standing.app.used, 5);
    // The user of this name may have jobs of other tests.
    assert!(standing.user.used >= 5);
    let (mut one, _) = hub.jobs_of_both(1);
    let over = hub.run(&one.remove(0)).await;
    assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
    hub.stop().await;
}
