//! Every step of a job is survived: at each fail-point a real process dies, others go on, and every job ends as it should.
//!
//! Processes die one after the other, at one point each, and leave what they left. Then fresh ones are started, and the
//! checker that judges a run of `make chaos` judges what becomes of all the jobs. A job whose process died may well meet
//! the next that dies: also that must end well.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod child;
mod hub;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use flickrhub_chaos::checker::check;
use flickrhub_chaos::client::attempt;
use flickrhub_chaos::history::{Answer, Attempt, History, Kind, Limits, Operation};
use flickrhub_chaos::observe;
use flickrhub_chaos::order::Order;
use flickrhub_e2e::gateway::{job_id, send};
use flickrhub_job::fail_point::POINTS;
use flickrhub_job::model::Job;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::child::Child;
use crate::hub::{Hub, MAX_ATTEMPTS};

/// How long what was left may take: the lease of a dispatched job and of a callback is two minutes, then comes recovery.
const RECOVERY: Duration = Duration::from_mins(4);

/// How long a key may count as under way after the process that had it died.
const KEY_IN_FLIGHT: Duration = Duration::from_mins(2);

/// The name of the place to which callbacks go.
const SINK: &str = "crashes";

/// What was submitted, and where processes died.
struct Crashes {
    hub: Hub,
    dice: StdRng,
    photo_id: String,
    operations: Vec<Operation>,
    /// What each operation but those of [`Crashes::note`] asks for, by its number.
    orders: BTreeMap<usize, Order>,
    survived: Mutex<BTreeSet<&'static str>>,
}

impl Crashes {
    async fn begin(name: &str) -> Self {
        Self {
            hub: Hub::prepare(name).await,
            dice: StdRng::seed_from_u64(1),
            photo_id: String::new(),
            operations: Vec::new(),
            orders: BTreeMap::new(),
            survived: Mutex::default(),
        }
    }

    /// Submits one job, with one request.
    async fn submit(&mut self, kind: Kind, callback: bool) -> Answer {
        let marker = format!("crash-marker-{}", self.operations.len());
        let mut order = Order::new(&self.hub.user, kind, &self.photo_id, marker);
        order.callback_url = callback.then(|| self.hub.mock.sink(SINK));
        self.orders.insert(self.operations.len(), order.clone());
        self.operations.push(order.operation());
        self.send(self.operations.len() - 1).await
    }

    /// Sends an operation, perhaps once more: its idempotency key stays.
    async fn send(&mut self, number: usize) -> Answer {
        let order = &self.orders[&number];
        let (attempt, _) = attempt(&self.hub.gateway, order, &mut self.dice).await;
        let answer = attempt.answer.clone();
        self.operations[number].attempts.push(attempt);
        answer
    }

    /// Sends an operation whose answer was lost until it is answered; the checker sees that it makes one job. A request
    /// with the key may still count as under way.
    async fn send_until_accepted(&mut self, number: usize) {
        let deadline = Instant::now() + KEY_IN_FLIGHT;
        loop {
            match self.send(number).await {
                Answer::Accepted { .. } => return,
                answer if Instant::now() > deadline => panic!("operation {number}: {answer:?}"),
                _ => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    /// Submits one job that has to be accepted.
    async fn accepted(&mut self, kind: Kind, callback: bool) -> String {
        match self.submit(kind, callback).await {
            Answer::Accepted { job_id } => job_id,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until this process has died at this point.
    async fn dies(&self, child: Child, point: &'static str) {
        child.dies_at(point).await;
        println!("died at {point}");
        self.survived.lock().unwrap().insert(point);
    }

    /// Notes a job that was put into MongoDB as it is after its worker was lost.
    fn note(&mut self, job: &Job, kind: Kind, marker: &str) {
        let order = Order::new(&self.hub.user, kind, "", marker.to_owned());
        let mut operation = order.operation();
        operation.attempts.push(Attempt {
            trace_id: job.trace.trace_id.clone(),
            sent_ms: 0,
            ended_ms: 0,
            answer: Answer::Accepted {
                job_id: job.id.to_string(),
            },
        });
        self.operations.push(operation);
    }

    /// What became of it, when everything is at rest.
    async fn history(&self) -> History {
        let gateway = &self.hub.gateway;
        let listed = observe::list(gateway, &self.hub.user).await;
        let ids: Vec<_> = listed.iter().map(|job| job.id.clone()).collect();
        let rested = observe::read_all(gateway, &ids).await;
        History {
            operations: self.operations.clone(),
            sightings: Vec::new(),
            later: rested.clone(),
            rested,
            listed,
            calls: observe::calls(&self.hub.mock, 0).await,
            deliveries: observe::deliveries(&self.hub.mock, SINK).await,
            leaked: Vec::new(),
            limits: vec![Limits::NONE],
            window_ms: 3_600_000,
            losses: Vec::new(),
        }
    }
}

fn armed(point: &str) -> String {
    format!("{point}=abort")
}

/// A photo to work on, made by processes that all are well.
async fn first_photo(crashes: &mut Crashes) {
    let hub = &crashes.hub;
    let well = [hub.api("").await, hub.dispatcher(""), hub.runner("upload", "")];
    let job_id = crashes.accepted(Kind::Upload, false).await;
    let job = crashes.hub.gateway.finished(&job_id).await;
    let photo_id = job["result"]["photo_id"].as_str().expect("a photo");
    photo_id.clone_into(&mut crashes.photo_id);
    for child in well {
        child.kill().await;
    }
}

async fn accept_points(crashes: &mut Crashes) {
    for (point, kind) in [
        ("accept/after-photo", Kind::Upload),
        ("accept/before-admit", Kind::Read),
        ("accept/after-admit", Kind::Create),
        ("accept/after-insert", Kind::Create),
        ("accept/after-push", Kind::Read),
    ] {
        let api = crashes.hub.api(&armed(point)).await;
        let answer = crashes.submit(kind, false).await;
        assert!(matches!(answer, Answer::Unknown { .. }), "{point}: {answer:?}");
        crashes.dies(api, point).await;
    }
    // The insertion succeeds, its answer is lost.
    let api = crashes.hub.api("accept/after-insert=1*error").await;
    let answer = crashes.submit(Kind::Create, false).await;
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
    api.kill().await;
}

/// Clients that got no answer ask again, with the same keys.
async fn ask_again(crashes: &mut Crashes) {
    for number in 0..crashes.operations.len() {
        let clear = |attempt: &Attempt| matches!(attempt.answer, Answer::Accepted { .. });
        if !crashes.operations[number].attempts.iter().any(clear) {
            crashes.send_until_accepted(number).await;
        }
    }
}

async fn dispatch_points(crashes: &mut Crashes) {
    for point in [
        "dispatch/after-release",
        "dispatch/after-update",
        "dispatch/after-publish",
    ] {
        let dispatcher = crashes.hub.dispatcher(&armed(point));
        crashes.accepted(Kind::Read, false).await;
        crashes.accepted(Kind::Create, false).await;
        crashes.dies(dispatcher, point).await;
    }
}

async fn run_points(crashes: &mut Crashes) {
    for point in [
        "run/after-receive",
        "run/after-claim",
        "run/after-call",
        "finish/after-transition",
        "finish/after-lanes",
        "finish/after-settle",
    ] {
        for (queue, kinds) in [
            ("rest", &[Kind::Read, Kind::Create, Kind::Set][..]),
            ("upload", &[Kind::Upload]),
        ] {
            let runner = crashes.hub.runner(queue, &armed(point));
            for kind in kinds {
                crashes.accepted(*kind, false).await;
            }
            crashes.dies(runner, point).await;
        }
    }
    let runner = crashes.hub.runner("upload", &armed("finish/after-photo"));
    crashes.accepted(Kind::Upload, false).await;
    crashes.dies(runner, "finish/after-photo").await;
}

async fn retry_points(crashes: &mut Crashes) {
    for point in ["retry/after-transition", "retry/after-lanes"] {
        let busy = json!({"match": {"method": "flickr.test.echo"}, "kind": "http_status", "status": 503, "times": 2});
        crashes.hub.mock.fail(busy).await;
        let runner = crashes.hub.runner("rest", &armed(point));
        crashes.accepted(Kind::Read, false).await;
        crashes.accepted(Kind::Read, false).await;
        crashes.dies(runner, point).await;
        crashes.hub.mock.clear_faults().await;
    }
}

async fn callback_points(crashes: &mut Crashes) {
    for point in [
        "callback/after-claim",
        "callback/after-count",
        "callback/after-delivery",
    ] {
        let callbacks = crashes.hub.callbacks(&armed(point));
        crashes.accepted(Kind::Read, true).await;
        crashes.dies(callbacks, point).await;
    }
}

/// The steps of a job that processes take as it goes by.
async fn on_the_way() -> Crashes {
    let mut crashes = Crashes::begin("way").await;
    first_photo(&mut crashes).await;
    accept_points(&mut crashes).await;
    let _api = crashes.hub.api("").await;
    ask_again(&mut crashes).await;
    dispatch_points(&mut crashes).await;
    let _dispatcher = crashes.hub.dispatcher("");
    run_points(&mut crashes).await;
    retry_points(&mut crashes).await;
    let _rest = crashes.hub.runner("rest", "");
    callback_points(&mut crashes).await;

    let _others = [crashes.hub.runner("upload", ""), crashes.hub.callbacks("")];
    crashes.hub.rest(RECOVERY).await;
    judge(crashes).await
}

/// The steps of a dispatcher that recovers what others have left.
async fn recovery() -> Crashes {
    let mut crashes = Crashes::begin("recovery").await;
    let _api = crashes.hub.api("").await;
    crashes.accepted(Kind::Read, false).await;
    for point in ["rebuild/after-queued", "rebuild/before-generation"] {
        let dispatcher = crashes.hub.dispatcher(&armed(point));
        crashes.dies(dispatcher, point).await;
    }
    // Each leaves the jobs of others alone for 45 s, so that they come to their own one after the other.
    let stagger = Duration::from_secs(15);
    let requeues = crashes.hub.dispatcher(&armed("recover/after-requeue"));
    sleep(stagger).await;
    let ends = crashes.hub.dispatcher(&armed("recover/after-end"));
    sleep(stagger).await;
    let buries = crashes.hub.dispatcher(&armed("recover/after-letter"));
    for (dispatcher, point, kind, method, tries) in [
        (
            requeues,
            "recover/after-requeue",
            Kind::Read,
            "flickr.test.echo",
            1,
        ),
        (
            ends,
            "recover/after-end",
            Kind::Create,
            "flickr.photosets.create",
            1,
        ),
        (
            buries,
            "recover/after-letter",
            Kind::Read,
            "flickr.test.echo",
            MAX_ATTEMPTS,
        ),
    ] {
        let marker = format!("lost-marker-{point}");
        let job = crashes.hub.lose(method, &marker, tries).await;
        crashes.note(&job, kind, &marker);
        crashes.dies(dispatcher, point).await;
    }
    let _well = [crashes.hub.dispatcher(""), crashes.hub.runner("rest", "")];
    crashes.hub.rest(RECOVERY).await;
    judge(crashes).await
}

/// The steps of a replay: at each an API dies, and the job that was given up is replayed by one job all the same.
async fn replays() -> Crashes {
    let crashes = Crashes::begin("replay").await;
    let hub = &crashes.hub;
    let _well = [hub.dispatcher(""), hub.runner("rest", "")];
    let points = POINTS.into_iter().filter(|point| point.starts_with("replay/"));
    for (index, point) in points.enumerate() {
        let api = hub.api("").await;
        let refused =
            json!({"user_id": hub.user, "method": "flickr.photos.getInfo", "params": {"photo_id": "1"}});
        let old = hub.gateway.submit(refused).await;
        assert_eq!(hub.gateway.finished(&old).await["state"], "failed", "{point}");
        api.kill().await;

        let api = hub.api(&armed(point)).await;
        let replay = || hub.gateway.post(&format!("/api/v1/jobs/{old}/replay"));
        let answer = replay().send().await;
        assert!(answer.is_err(), "{point}: {answer:?}");
        crashes.dies(api, point).await;

        let api = hub.api("").await;
        let new = job_id(&send(replay()).await);
        let replayed = hub.gateway.finished(&new).await;
        assert_eq!(replayed["state"], "failed", "{point}: Flickr refuses it again");
        assert_eq!(job_id(&send(replay()).await), new, "{point}");
        hub.rest(RECOVERY).await;
        let listed = observe::list(&hub.gateway, &hub.user).await;
        assert_eq!(
            listed.len(),
            2 * (index + 1),
            "{point}: one replay of each: {listed:?}"
        );
        api.kill().await;
    }
    crashes
}

/// Judges while the API is still there to be asked.
async fn judge(crashes: Crashes) -> Crashes {
    let history = crashes.history().await;
    for job in &history.listed {
        println!(
            "{} {} {:?} after {} tries",
            job.id, job.state, job.error, job.attempts
        );
    }
    assert_eq!(check(&history), []);
    let unexpected: Vec<_> = history
        .listed
        .iter()
        .filter(|job| {
            let expected = ["outcome_unknown", "worker_lost"];
            job.error
                .as_deref()
                .is_some_and(|error| !expected.contains(&error))
                && job.state != "succeeded"
        })
        .collect();
    assert!(
        unexpected.is_empty(),
        "nothing but a lost worker ends a job here: {unexpected:?}"
    );
    crashes
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn crash_points() {
    let (way, recovery, replays) = tokio::join!(on_the_way(), recovery(), replays());
    let mut survived = BTreeSet::new();
    for crashes in [way, recovery, replays] {
        survived.extend(crashes.survived.into_inner().unwrap());
        crashes.hub.clear().await;
    }
    let listed: BTreeSet<_> = POINTS.into_iter().collect();
    assert_eq!(survived, listed, "a process died at each point that is listed");
}
