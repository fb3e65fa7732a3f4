//! Answers that are kept: one call for many jobs, and none that is not good any more.

use std::time::Duration;

use flickrhub_flickr_mock::fault::{Kind, Rule};
use flickrhub_job::model::JobState;

use crate::hub::Hub;
use crate::{SEARCH, TURN};

const PHOTO: &[u8] = b"\xff\xd8\xff\xe0 bees";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn many_jobs_that_ask_the_same_at_once_cost_one_call() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let slow = Kind::Slow { ms: 300 };
    hub.flickr.add_fault(Rule::new(SEARCH, slow));
    let jobs: Vec<_> = (0..12).map(|_| hub.job(SEARCH, &[("text", "bees")])).collect();
    for job in &jobs {
        hub.submit(job).await;
    }
    let mut results = Vec::new();
    for job in &jobs {
        let over = hub.once(job.id, |job| job.state.is_final()).await;
        assert_eq!(over.state, JobState::Succeeded, "{:?}", over.error);
        results.push(over.result.unwrap());
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(hub.calls(SEARCH).len(), 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_job_that_acts_makes_the_answers_of_its_user_invalid() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(hub.calls(SEARCH).len(), 1);
    let uploaded = hub.run(&hub.upload(PHOTO).await).await;
    assert_eq!(uploaded.state, JobState::Succeeded, "{:?}", uploaded.error);
    hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(hub.calls(SEARCH).len(), 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn a_client_can_ask_for_an_answer_of_flickrs_own() {
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    let mut anew = hub.job(SEARCH, &[("text", "bees")]);
    anew.no_cache = true;
    hub.run(&anew).await;
    assert_eq!(hub.calls(SEARCH).len(), 2);
    tokio::time::sleep(Duration::from_millis(10)).await;
    hub.run(&hub.job(SEARCH, &[("text", "bees")])).await;
    assert_eq!(hub.calls(SEARCH).len(), 2, "what it brought was kept");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the data tier: make test"]
async fn an_answer_that_has_aged_is_given_while_flickr_is_away_and_replaced_when_it_is_back() {
    const OUTCOMES: [&str; 4] = ["hit", "miss", "stale", "stale_served"];
    let _turn = TURN.lock().await;
    let hub = Hub::start().await;
    let before = Hub::cache_lookups(OUTCOMES);
    let ask = || hub.job(SEARCH, &[("text", "bees")]);
    let first = hub.run(&ask()).await;
    hub.age_answer(&first).await;
    let away = Kind::HttpStatus {
        status: 503,
        retry_after: None,
    };
    hub.flickr.add_fault(Rule::new(SEARCH, away));
    let meanwhile = hub.run(&ask()).await;
    assert_eq!(meanwhile.state, JobState::Succeeded, "{:?}", meanwhile.error);
    assert_eq!((meanwhile.tries, &meanwhile.result), (1, &first.result));
    hub.flickr.clear_faults();
    // It was not renewed by that, so Flickr is asked again, and from then on it is fresh.
    for _ in 0..2 {
        assert_eq!(hub.run(&ask()).await.state, JobState::Succeeded);
    }
    assert_eq!(hub.calls(SEARCH).len(), 3);
    let after = Hub::cache_lookups(OUTCOMES);
    let counted: Vec<u64> = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(counted, [1, 1, 1, 1]);
    hub.stop().await;
}
