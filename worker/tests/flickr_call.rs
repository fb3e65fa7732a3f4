//! What becomes of calls to Flickr, with the stand-in for Flickr on the loopback interface.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use flickrhub_flickr::{AppCredentials, TicketId, UserToken};
use flickrhub_flickr_mock::fault::{Kind, Rule};
use flickrhub_flickr_mock::{Builder, MockFlickr, MockHandle, Permission};
use flickrhub_job::config::{FlickrEndpoints, QueueConfig};
use flickrhub_job::model::{Body, Job, JobState, NewJob, TraceContext, Trail};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::StoreError;
use flickrhub_job::telemetry::Metrics;
use flickrhub_worker::decision::{Failure, FailureKind, Outcome};
use flickrhub_worker::flickr_call::{FlickrCaller, KeepSending, Signers};
use futures::{Stream, stream};
use jiff::{Timestamp, ToSpan};
use secrecy::SecretString;
use tokio::net::TcpListener;
use url::Url;

const SEARCH: &str = "flickr.photos.search";
const CREATE_SET: &str = "flickr.photosets.create";

/// Flickr, and a user of it whose jobs call it.
struct Setting {
    flickr: MockHandle,
    caller: FlickrCaller,
    signers: Signers,
    user_id: String,
}

impl Setting {
    async fn new() -> Self {
        Self::with(MockFlickr::builder().ticket_delay(Duration::from_millis(300))).await
    }

    async fn with(flickr: Builder) -> Self {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let flickr = flickr.app("key", "secret").serve(listener).unwrap();
        let user = flickr.add_user("bees", Permission::Write);
        let origin: Url = flickr.origin().parse().unwrap();
        let endpoints = FlickrEndpoints {
            rest: origin.join("/services/rest").unwrap(),
            upload: origin.join("/services").unwrap(),
            oauth: origin.join("/services/oauth").unwrap(),
        };
        let settings = QueueConfig {
            concurrency: 1,
            prefetch: 1,
            window: 1,
            max_attempts: 3,
            timeout_seconds: 3,
        };
        Self {
            caller: FlickrCaller::new(&endpoints, &settings).unwrap(),
            signers: Signers {
                app_name: "main".to_owned(),
                app: AppCredentials::new("key", SecretString::from("secret")),
                user: UserToken::new(
                    SecretString::from(user.oauth_token),
                    SecretString::from(user.oauth_token_secret),
                ),
            },
            user_id: user.user_nsid,
            flickr,
        }
    }

    fn job(&self, queue: Queue, method: &str, params: &[(&str, &str)]) -> Job {
        let now = Timestamp::now();
        let params = params.iter();
        let new = NewJob {
            client_id: "default".to_owned(),
            user_id: self.user_id.clone(),
            app: "main".to_owned(),
            queue,
            method: method.to_owned(),
            params: params
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            trace: TraceContext::new(),
        };
        Job {
            state: JobState::Running,
            attempt: 1,
            tries: 1,
            ..new.accepted(now, now + 1.hour())
        }
    }

    fn call_of(&self, method: &str) -> Job {
        self.job(Queue::Rest, method, &[("text", "bees")])
    }

    fn upload(&self, length: u64) -> Job {
        Job {
            body: Some(Body {
                file_id: "1".to_owned(),
                length,
                file_name: "bee.jpg".to_owned(),
                content_type: "image/jpeg".to_owned(),
            }),
            ..self.job(Queue::Upload, "upload", &[("title", "A bee")])
        }
    }

    /// How often Flickr was called so.
    fn sent(&self, method: &str) -> usize {
        let log = self.flickr.log();
        log.iter().filter(|entry| entry.method == method).count()
    }

    async fn outcome(&self, job: &Job) -> Outcome {
        self.caller
            .call(
                job,
                &self.signers,
                photo,
                &Kept::default(),
                &Metrics::new().unwrap(),
            )
            .await
    }

    async fn failure(&self, job: &Job) -> Failure {
        match self.outcome(job).await {
            Outcome::Failed(failure) => failure,
            other => panic!("it did not fail: {other:?}"),
        }
    }

    /// The next attempt of a job, which knows what the one before kept.
    async fn attempt_after(&self, job: &Job, kept: &Kept) -> (Outcome, Kept) {
        let known = kept.0.lock().unwrap().clone();
        let job = Job {
            attempt: job.attempt + 1,
            tries: job.tries + 1,
            trail: Trail {
                sent_by: known.sent.then_some(job.attempt),
                ticket: known.ticket.clone(),
                ..Trail::default()
            },
            ..job.clone()
        };
        let kept = Kept(Mutex::new(known));
        let metrics = Metrics::new().unwrap();
        let outcome = self
            .caller
            .call(&job, &self.signers, photo, &kept, &metrics)
            .await;
        (outcome, kept)
    }

    async fn first_attempt(&self, job: &Job) -> (Outcome, Kept) {
        let (kept, metrics) = (Kept::default(), Metrics::new().unwrap());
        let outcome = self.caller.call(job, &self.signers, photo, &kept, &metrics).await;
        (outcome, kept)
    }
}

#[derive(Clone, Default)]
struct Known {
    sent: bool,
    ticket: Option<String>,
}

/// Keeps in memory how far a photo came.
#[derive(Default)]
struct Kept(Mutex<Known>);

impl KeepSending for Kept {
    async fn begins(&self) -> Result<bool, StoreError> {
        self.0.lock().unwrap().sent = true;
        Ok(true)
    }

    async fn came_to_nothing(&self) {
        self.0.lock().unwrap().sent = false;
    }

    async fn has_ticket(&self, ticket: Option<&TicketId>) -> bool {
        self.0.lock().unwrap().ticket = ticket.map(ToString::to_string);
        true
    }
}

/// As many bytes as the body has, in pieces.
fn photo(body: &Body) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static + use<> {
    let length = usize::try_from(body.length).unwrap();
    let pieces: Vec<_> = vec![7_u8; length]
        .chunks(64 * 1024)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces)
}

#[tokio::test]
async fn a_read_gives_flickrs_answer_and_carries_the_trace() {
    let setting = Setting::new().await;
    let job = setting.call_of(SEARCH);
    let Outcome::Done(answer) = setting.outcome(&job).await else {
        panic!("it failed");
    };
    assert_eq!(answer["stat"], "ok");
    let seen = setting.flickr.log();
    assert_eq!(seen[0].trace_id.as_deref(), Some(job.trace.trace_id.as_str()));
    assert_ne!(
        seen[0].traceparent.as_deref(),
        Some(job.trace.traceparent.as_str())
    );
    assert!(
        seen[0]
            .traceparent
            .as_deref()
            .unwrap()
            .contains(&job.trace.trace_id)
    );
}

#[tokio::test]
async fn a_busy_flickr_is_transient_and_says_how_long() {
    let setting = Setting::new().await;
    let busy = Kind::HttpStatus {
        status: 429,
        retry_after: Some(7),
    };
    setting.flickr.add_fault(Rule::new(SEARCH, busy));
    let failure = setting.failure(&setting.call_of(SEARCH)).await;
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(failure.error.code, "flickr_rate_limited");
}

#[tokio::test]
async fn a_refusal_is_permanent_and_keeps_flickrs_code() {
    let setting = Setting::new().await;
    setting
        .flickr
        .add_fault(Rule::new(SEARCH, Kind::ErrorCode { code: 3 }));
    let failure = setting.failure(&setting.call_of(SEARCH)).await;
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert_eq!(failure.error.flickr_code, Some(3));
}

#[tokio::test]
async fn a_flickr_that_is_too_slow_is_left() {
    let setting = Setting::new().await;
    setting
        .flickr
        .add_fault(Rule::new(SEARCH, Kind::Slow { ms: 60_000 }));
    let failure = setting.failure(&setting.call_of(SEARCH)).await;
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(failure.error.code, "flickr_unavailable");
}

#[tokio::test]
async fn a_lost_answer_to_a_call_that_acts_again_has_an_unknown_outcome() {
    let setting = Setting::new().await;
    setting
        .flickr
        .add_fault(Rule::new(CREATE_SET, Kind::DropConnection));
    let failure = setting.failure(&setting.call_of(CREATE_SET)).await;
    assert_eq!(failure.kind, FailureKind::Unknown);
}

#[tokio::test]
async fn an_upload_is_over_when_flickr_has_finished_with_the_photo() {
    let setting = Setting::new().await;
    let Outcome::Done(result) = setting.outcome(&setting.upload(1_000_000)).await else {
        panic!("it failed");
    };
    let photos = setting.flickr.photos();
    assert_eq!(photos.len(), 1);
    assert_eq!(result["photo_id"], photos[0].id);
    assert_eq!(photos[0].bytes, 1_000_000);
    assert_eq!(photos[0].title, "A bee");
}

#[tokio::test]
async fn a_body_store_that_is_away_is_no_try_and_a_photo_that_is_lost_is_one() {
    let setting = Setting::new().await;
    let lost = StoreError::NoSuchBody("1".to_owned());
    let cases: [(StoreError, io::ErrorKind, FailureKind); 2] = [
        (StoreError::Timeout, io::ErrorKind::Other, FailureKind::CutShort),
        (lost, io::ErrorKind::NotFound, FailureKind::Transient),
    ];
    for (cause, kind, expected) in cases {
        let broken =
            |_: &Body| stream::iter([Ok(Bytes::from_static(b"abc")), Err(io::Error::new(kind, cause))]);
        let outcome = setting
            .caller
            .call(
                &setting.upload(1000),
                &setting.signers,
                broken,
                &Kept::default(),
                &Metrics::new().unwrap(),
            )
            .await;
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(failure.kind, expected, "{:?}", failure.error);
    }
}

#[tokio::test]
async fn a_photo_that_flickr_cannot_process_fails_for_good() {
    let setting = Setting::new().await;
    setting.flickr.add_fault(Rule::new("upload", Kind::TicketFails));
    let failure = setting.failure(&setting.upload(1000)).await;
    assert_eq!(failure.kind, FailureKind::Settled);
}

#[tokio::test]
async fn an_upload_that_flickr_does_not_finish_in_time_has_an_unknown_outcome_and_names_its_ticket() {
    let setting = Setting::with(MockFlickr::builder().ticket_delay(Duration::from_hours(1))).await;
    let failure = setting.failure(&setting.upload(1000)).await;
    assert_eq!(failure.kind, FailureKind::Unknown);
    assert!(
        failure.error.message.contains("ticket 5"),
        "{}",
        failure.error.message
    );
}

#[tokio::test]
async fn an_upload_whose_ticket_is_known_is_asked_about_and_not_sent_again() {
    // Longer than an attempt of 3 s and its last question take, whatever the jitter is.
    let setting = Setting::with(MockFlickr::builder().ticket_delay(Duration::from_secs(10))).await;
    let job = setting.upload(1000);
    let (outcome, kept) = setting.first_attempt(&job).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (outcome, _) = setting.attempt_after(&job, &kept).await;
    let Outcome::Done(result) = outcome else {
        panic!("{outcome:?}");
    };
    let photos = setting.flickr.photos();
    assert_eq!(photos.len(), 1);
    assert_eq!(result["photo_id"], photos[0].id);
    assert_eq!(setting.sent("upload"), 1);
}

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_sent_to_be_checked_and_makes_one_photo() {
    let setting = Setting::new().await;
    let lost = Rule::new("upload", Kind::DropConnection).after_effect();
    setting.flickr.add_fault(lost.times(1));
    let job = setting.upload(1000);
    let (outcome, kept) = setting.first_attempt(&job).await;
    let Outcome::Failed(failure) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(failure.kind, FailureKind::Unknown);
    let (outcome, _) = setting.attempt_after(&job, &kept).await;
    let Outcome::Done(result) = outcome else {
        panic!("{outcome:?}");
    };
    let photos = setting.flickr.photos();
    assert_eq!(photos.len(), 1, "it was not uploaded twice");
    assert_eq!(result["photo_id"], photos[0].id);
    assert_eq!(setting.sent("upload"), 2);
}

#[tokio::test]
async fn an_upload_that_flickr_did_not_get_is_sent_again_and_makes_one_photo() {
    let setting = Setting::new().await;
    let lost = Rule::new("upload", Kind::DropConnection).times(1);
    setting.flickr.add_fault(lost);
    // Longer than the connection holds, so that the sender sees it break.
    let job = setting.upload(20_000_000);
    let (outcome, kept) = setting.first_attempt(&job).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
    let (outcome, _) = setting.attempt_after(&job, &kept).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(setting.flickr.photos().len(), 1);
}

#[tokio::test]
async fn a_photo_is_uploaded_twice_on_purpose_unless_flickr_may_have_it_of_the_same_job() {
    let setting = Setting::new().await;
    for expected in 1..=2 {
        let (outcome, _) = setting.first_attempt(&setting.upload(1000)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
        assert_eq!(setting.flickr.photos().len(), expected);
    }
    // An attempt that Flickr refused is no reason to check.
    let busy = Kind::HttpStatus {
        status: 429,
        retry_after: None,
    };
    setting.flickr.add_fault(Rule::new("upload", busy).times(1));
    let job = setting.upload(1000);
    let (_, kept) = setting.first_attempt(&job).await;
    let (outcome, _) = setting.attempt_after(&job, &kept).await;
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    assert_eq!(setting.flickr.photos().len(), 3);
}

#[tokio::test]
async fn a_replacement_keeps_the_photo_and_changes_its_content() {
    let setting = Setting::new().await;
    let Outcome::Done(result) = setting.outcome(&setting.upload(1000)).await else {
        panic!("the upload failed");
    };
    let id = result["photo_id"].as_str().unwrap();
    let replacement = Job {
        queue: Queue::Replace,
        method: "replace".to_owned(),
        params: BTreeMap::from([("photo_id".to_owned(), id.to_owned())]),
        ..setting.upload(2000)
    };
    assert!(matches!(setting.outcome(&replacement).await, Outcome::Done(_)));
    let photos = setting.flickr.photos();
    assert_eq!((photos[0].bytes, photos[0].replaced), (2000, 1));
}

#[tokio::test]
async fn a_photo_job_without_a_photo_fails_for_good() {
    let setting = Setting::new().await;
    let job = setting.job(Queue::Upload, "upload", &[]);
    assert_eq!(setting.failure(&job).await.kind, FailureKind::Permanent);
    assert!(setting.flickr.log().is_empty());
}
