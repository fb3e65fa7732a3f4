//! Admission in a real Redis: windows, idempotency marks, and what is given back.
//!
//! `FLICKRHUB_TEST_CONFIG` names a configuration whose Redis can be reached.
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::PathBuf;
use std::time::Duration;

use flickrhub_job::config::Config;
use flickrhub_job::connection::redis::Redis;
use flickrhub_job::lane::{
    Admission, AdmissionLimits, Admitted, LaneEntry, Lanes, Policy, Quotas, Submission,
};
use flickrhub_job::limits::RequestClass;
use flickrhub_job::model::{Idempotency, JobId, Priority};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use uuid::Uuid;

struct Desk {
    redis: Redis,
    lanes: Lanes,
    prefix: String,
}

impl Desk {
    async fn open() -> Self {
        let path: PathBuf = std::env::var_os("FLICKRHUB_TEST_CONFIG").unwrap().into();
        let redis = Redis::connect(&Config::load(&path).unwrap().redis).await.unwrap();
        let prefix = format!("fh-test-{}:", Uuid::now_v7().simple());
        Self {
            lanes: Lanes::new(redis.clone(), &prefix),
            redis,
            prefix,
        }
    }

    async fn ask(&self, job: &Asked, limits: &AdmissionLimits) -> (Admission, Quotas) {
        self.lanes.admit(&job.submission(), limits).await.unwrap()
    }

    async fn admitted(&self, job: &Asked, limits: &AdmissionLimits) -> Admitted {
        match self.ask(job, limits).await.0 {
            Admission::Admitted(admitted) => admitted,
            other => panic!("{other:?}"),
        }
    }

    async fn keys(&self) -> Vec<String> {
        let pattern = format!("{}*", self.prefix);
        let mut keys: Vec<String> = self.redis.run(redis::cmd("KEYS").arg(pattern)).await.unwrap();
        keys.sort();
        keys
    }

    async fn close(self) {
        for key in self.keys().await {
            self.redis.run::<()>(redis::cmd("DEL").arg(key)).await.unwrap();
        }
    }
}

/// A job of a user and class.
struct Asked {
    entry: LaneEntry,
    class: RequestClass,
    idempotency: Option<Idempotency>,
}

impl Asked {
    fn new(user: &str, class: RequestClass) -> Self {
        Self {
            entry: LaneEntry {
                queue: Queue::Rest,
                app: "main".to_owned(),
                user_id: user.to_owned(),
                job_id: JobId::new(),
                priority: Priority::Normal,
                weight: 1,
                created_at: Timestamp::now(),
            },
            class,
            idempotency: None,
        }
    }

    fn with_key(key: &str, payload: &str) -> Self {
        let idempotency = Idempotency {
            key: key.to_owned(),
            payload: payload.to_owned(),
        };
        Self {
            idempotency: Some(idempotency),
            ..Self::new("u", RequestClass::Read)
        }
    }

    fn submission(&self) -> Submission<'_> {
        Submission {
            entry: &self.entry,
            client_id: "acme",
            class: self.class,
            idempotency: self.idempotency.as_ref(),
        }
    }
}

const LIMITS: AdmissionLimits = AdmissionLimits {
    pending_per_user: 100,
    buffer: 100,
    per_user_per_hour: 3,
    per_class_per_hour: 2,
    per_client_per_minute: 5,
};

fn full(answer: &(Admission, Quotas)) -> Option<(Policy, u64)> {
    match answer.0 {
        Admission::WindowFull { policy, retry_after } => Some((policy, retry_after.as_secs())),
        _ => None,
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn each_window_refuses_what_is_too_much_and_says_when_it_takes_more() {
    let desk = Desk::open().await;
    for left in [1, 0] {
        let (admission, quotas) = desk.ask(&Asked::new("u", RequestClass::Upload), &LIMITS).await;
        assert!(matches!(admission, Admission::Admitted(_)));
        let tightest = quotas.tightest();
        assert_eq!(
            (tightest.policy, tightest.limit, tightest.remaining),
            (Policy::Class(RequestClass::Upload), 2, left)
        );
        assert!((3590..=3600).contains(&tightest.reset), "{tightest:?}");
    }
    let of_class = desk.ask(&Asked::new("u", RequestClass::Upload), &LIMITS).await;
    assert!(
        matches!(
            full(&of_class),
            Some((Policy::Class(RequestClass::Upload), 3590..=3600))
        ),
        "{of_class:?}"
    );
    desk.admitted(&Asked::new("u", RequestClass::Read), &LIMITS).await;
    let of_user = desk.ask(&Asked::new("u", RequestClass::Write), &LIMITS).await;
    assert!(
        matches!(full(&of_user), Some((Policy::User, 3590..=3600))),
        "{of_user:?}"
    );
    for user in ["v", "w"] {
        desk.admitted(&Asked::new(user, RequestClass::Read), &LIMITS)
            .await;
    }
    let of_client = desk.ask(&Asked::new("x", RequestClass::Read), &LIMITS).await;
    assert!(
        matches!(full(&of_client), Some((Policy::Client, 50..=60))),
        "{of_client:?}"
    );
    // The user's hour outlasts the client's minute: whoever waits as told is not refused again.
    let of_both = desk.ask(&Asked::new("u", RequestClass::Read), &LIMITS).await;
    assert!(
        matches!(full(&of_both), Some((Policy::Client, 3590..=3600))),
        "{of_both:?}"
    );
    // Raised while it runs.
    let raised = AdmissionLimits {
        per_user_per_hour: 4,
        per_client_per_minute: 50,
        ..LIMITS
    };
    desk.admitted(&Asked::new("u", RequestClass::Read), &raised).await;
    desk.close().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_wait_that_is_obeyed_ends_with_an_admission() {
    let desk = Desk::open().await;
    let limits = AdmissionLimits {
        per_client_per_minute: 1,
        ..LIMITS
    };
    // The minute of an event 57 s ago, made by setting the time of the one that is there.
    desk.admitted(&Asked::new("u", RequestClass::Read), &limits).await;
    let key = format!("{}client:acme", desk.prefix);
    let ago = Timestamp::now().as_millisecond() - 57_000;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds are far below 2^53")]
    let time = (ago as f64).to_le_bytes();
    for offset in [0, 8] {
        let mut set = redis::cmd("SETRANGE");
        set.arg(&key).arg(offset).arg(&time[..]);
        desk.redis.run::<()>(&set).await.unwrap();
    }
    let refused = desk.ask(&Asked::new("v", RequestClass::Read), &limits).await;
    let Some((Policy::Client, wait @ 1..=4)) = full(&refused) else {
        panic!("{refused:?}");
    };
    tokio::time::sleep(Duration::from_secs(wait)).await;
    desk.admitted(&Asked::new("v", RequestClass::Read), &limits).await;
    desk.close().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_job_counts_once_however_often_it_is_asked_for() {
    let desk = Desk::open().await;
    let job = Asked::new("u", RequestClass::Read);
    for _ in 0..5 {
        let (admission, quotas) = desk.ask(&job, &LIMITS).await;
        assert!(matches!(admission, Admission::Admitted(_)));
        assert_eq!(quotas.tightest().remaining, 1);
    }
    desk.close().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_is_given_back_counts_no_more_and_is_given_back_once() {
    let desk = Desk::open().await;
    let limits = AdmissionLimits {
        per_class_per_hour: 1,
        ..LIMITS
    };
    let (first, second) = (
        Asked::new("u", RequestClass::Read),
        Asked::new("u", RequestClass::Read),
    );
    let admitted = desk.admitted(&first, &limits).await;
    for _ in 0..2 {
        desk.lanes.give_back(&first.submission(), admitted).await.unwrap();
    }
    assert_eq!(desk.lanes.depth(Queue::Rest).await.unwrap().reserved, 0);
    desk.admitted(&second, &limits).await;
    desk.lanes.give_back(&first.submission(), admitted).await.unwrap();
    let third = desk.ask(&Asked::new("u", RequestClass::Read), &limits).await;
    assert!(full(&third).is_some(), "{third:?}");
    desk.close().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn of_requests_with_one_key_one_is_under_way_and_then_remembered() {
    let desk = Desk::open().await;
    let limits = AdmissionLimits {
        per_user_per_hour: 100,
        per_class_per_hour: 100,
        per_client_per_minute: 100,
        ..LIMITS
    };
    let (first, again) = (Asked::with_key("k", "p"), Asked::with_key("k", "p"));
    let admitted = desk.admitted(&first, &limits).await;
    assert_eq!(desk.ask(&again, &limits).await.0, Admission::InFlight);
    let looked = desk
        .lanes
        .would_admit(&again.submission(), &limits)
        .await
        .unwrap()
        .0;
    assert_eq!(looked, Admission::InFlight);
    let other = Asked::with_key("l", "p");
    desk.admitted(&other, &limits).await;

    // Another request's failure does not end this one's mark.
    desk.lanes.give_back(&again.submission(), admitted).await.unwrap();
    assert_eq!(desk.ask(&again, &limits).await.0, Admission::InFlight);
    desk.lanes.give_back(&first.submission(), admitted).await.unwrap();
    let admitted = desk.admitted(&again, &limits).await;

    let idempotency = again.idempotency.clone().unwrap();
    let hour = Duration::from_hours(1);
    desk.lanes
        .remember(&idempotency, again.entry.job_id, hour)
        .await
        .unwrap();
    // A late failure of the one that is remembered does not forget it.
    desk.lanes.give_back(&again.submission(), admitted).await.unwrap();
    let full = AdmissionLimits {
        pending_per_user: 0,
        per_client_per_minute: 1,
        ..LIMITS
    };
    let expected = Admission::Repeated {
        payload: "p".to_owned(),
        job_id: again.entry.job_id,
    };
    assert_eq!(desk.ask(&first, &full).await.0, expected);
    let looked = desk
        .lanes
        .would_admit(&first.submission(), &full)
        .await
        .unwrap()
        .0;
    assert!(
        matches!(looked, Admission::Admitted(_)),
        "only the whole request tells"
    );
    desk.lanes.forget(&idempotency).await.unwrap();
    desk.admitted(&first, &limits).await;
    desk.close().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_look_and_a_refusal_write_nothing() {
    let desk = Desk::open().await;
    let looked = Asked::with_key("k", "p");
    let look = desk
        .lanes
        .would_admit(&looked.submission(), &LIMITS)
        .await
        .unwrap()
        .0;
    assert!(matches!(look, Admission::Admitted(_)));
    let none = AdmissionLimits { buffer: 0, ..LIMITS };
    assert!(matches!(
        desk.ask(&looked, &none).await.0,
        Admission::QueueFull { .. }
    ));
    assert_eq!(desk.keys().await, Vec::<String>::new());
    desk.close().await;
}
