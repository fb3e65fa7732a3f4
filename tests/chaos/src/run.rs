//! A run, from set-up to verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flickrhub_e2e::gateway::Gateway;
use flickrhub_e2e::scene::{Scene, unique};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::{Violation, check};
use crate::client::{Client, Notes, submit};
use crate::history::{Answer, History, Kind, SeenJob, Sighting, is_final};
use crate::limits::{Plan, is_spent, lift, tighten};
use crate::nemesis::{Done, Nemesis};
use crate::observe::{self, Read};
use crate::order::Order;
use crate::outsider::Outsider;
use crate::schedule::{Step, schedule};

/// The sliding window of all limits, in milliseconds.
const WINDOW_MS: i64 = 3_600_000;

/// One client of so many submits so many times as fast as the others, so that it comes to the limits of its user.
const BUSY: u32 = 4;
const FASTER: u32 = 8;

/// What a job says that was not run for want of a budget.
const BUDGET_SPENT: &str = "flickr_budget_spent";

/// Between the two readings of all jobs at rest.
const REST: Duration = Duration::from_secs(5);

/// What a run is told.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the nemesis and the clients do follows from it.
    pub seed: u64,
    /// How long clients submit and the nemesis works.
    pub length: Duration,
    /// How many clients.
    pub clients: u32,
    /// The longest pause of a client between two orders.
    pub pause: Duration,
    /// How long jobs may take to end when everything is whole again.
    pub drain: Duration,
    /// Whether the nemesis works.
    pub nemesis: bool,
}

/// What came of it.
pub struct Outcome {
    /// Everything that was seen.
    pub history: History,
    /// What was done to the hub.
    pub done: Vec<Done>,
    /// The promises that were broken.
    pub violations: Vec<Violation>,
    /// Why the hub was not whole in the end, if it was not.
    pub not_whole: Option<String>,
    /// From the end of the submissions to the end of the last job, in seconds.
    pub drained_after: f64,
}

impl Outcome {
    /// The steps that every run has and this one had not.
    pub fn left_out(&self) -> impl Iterator<Item = &Step> {
        let certain = self.done.iter().filter(|done| done.step.certain);
        certain
            .filter(|done| done.outcome.is_err())
            .map(|done| &done.step)
    }
}

/// Runs, and says what happens as it happens.
pub async fn run(scene: &Scene, options: Options) -> Outcome {
    let name = unique("chaos");
    // A run before this one may have broken off.
    scene.mock.clear_faults().await;
    let plan = Plan::for_run(options.length, options.pause, options.clients);
    let mut limits = tighten(scene, plan).await;
    let nemesis = Nemesis::look(scene.client.clone()).await;
    let steps = schedule(options.seed, options.length, nemesis.nodes());
    let outsider = Outsider::come(&scene.client, &scene.gateway, &name).await;
    let sink = scene.sink("chaos");
    let notes = Notes::default();
    let mut dice = StdRng::seed_from_u64(options.seed);
    let clients = clients(scene, options, &name, &sink, &notes, &mut dice).await;
    let users: BTreeSet<_> = clients.iter().map(|client| client.user.clone()).collect();
    scene.mock.fail(faults()).await;

    let start = Instant::now();
    println!(
        "seed {}: {} clients, {} steps in {:?}",
        options.seed,
        clients.len(),
        steps.len(),
        options.length
    );
    for step in steps.iter().filter(|_| options.nemesis) {
        println!("  planned {:>6.1} s  {step}", step.at.as_secs_f64());
    }
    let sightings = Sightings::default();
    let watcher = tokio::spawn(watch(scene.gateway.clone(), notes.clone(), sightings.clone()));
    let mut working = JoinSet::new();
    for client in clients {
        working.spawn(client.work(start + options.length, notes.clone()));
    }
    let tell = |done: &Done| {
        let after = start.elapsed().as_secs_f64();
        match &done.outcome {
            Ok(what) => println!("  {after:>6.1} s  {}: {what}", done.step),
            Err(why) => println!("  {after:>6.1} s  {}: left out, {why}", done.step),
        }
    };
    let steps = if options.nemesis { steps } else { Vec::new() };
    let done = nemesis.work((start, start + options.length), steps, tell).await;
    while working.join_next().await.is_some() {}
    scene.mock.clear_faults().await;
    let submitted = Instant::now();
    println!(
        "  {:>6.1} s  clients are done; everything heals",
        start.elapsed().as_secs_f64()
    );
    let not_whole = nemesis.all_whole().await.err();
    let lifted = lift(scene, &mut limits).await;
    drain(scene, &notes, &users, options.drain).await;
    let drained_after = submitted.elapsed().as_secs_f64();
    watcher.abort();

    println!(
        "  {:>6.1} s  reading what became of it",
        start.elapsed().as_secs_f64()
    );
    let users: Vec<_> = users.into_iter().collect();
    let losses = done.iter().filter_map(|done| done.loss).collect();
    let history = History {
        limits: vec![limits, lifted],
        losses,
        ..observed(scene, &notes, &users, &sightings, &sink, &outsider).await
    };
    outsider.leave().await;
    Outcome {
        violations: check(&history),
        history,
        done,
        not_whole,
        drained_after,
    }
}

/// Clients with a user each, who has a photo.
async fn clients(
    scene: &Scene,
    options: Options,
    name: &str,
    sink: &str,
    notes: &Notes,
    dice: &mut StdRng,
) -> Vec<Client> {
    let mut first_jobs = Vec::new();
    for number in 0..options.clients {
        let user = scene.authorise(&format!("chaos{number}"), "write").await;
        let mut rng = StdRng::seed_from_u64(dice.random());
        let name = format!("{name}-c{number}");
        let order = Order::new(&user, Kind::Upload, "", format!("{name}-0"));
        let operation = submit(&scene.gateway, &order, &mut rng).await;
        let accepted = operation
            .attempts
            .iter()
            .find_map(|attempt| match &attempt.answer {
                Answer::Accepted { job_id } => Some(job_id.clone()),
                Answer::Refused { .. } | Answer::Unknown { .. } => None,
            });
        notes.add(operation);
        first_jobs.push((
            name,
            user,
            rng,
            accepted.expect("the hub is well at the beginning"),
        ));
    }
    let mut clients = Vec::new();
    for (number, (name, user, rng, job_id)) in (0_u32..).zip(first_jobs) {
        let job = scene.gateway.finished(&job_id).await;
        clients.push(Client {
            gateway: scene.gateway.clone(),
            photo_id: job["result"]["photo_id"].as_str().expect("a photo").to_owned(),
            user,
            name,
            sink: scene.mock.sink(sink),
            pause: if number % BUSY == 0 {
                options.pause / FASTER
            } else {
                options.pause
            },
            rng,
        });
    }
    clients
}

/// Flickr fails in every way that it knows, now and then.
fn faults() -> Value {
    json!([
        {"kind": "http_status", "status": 503, "probability": 0.03},
        {"kind": "http_status", "status": 500, "probability": 0.02, "phase": "after"},
        {"kind": "http_status", "status": 429, "retry_after": 1, "probability": 0.02},
        {"kind": "drop_connection", "probability": 0.02},
        {"kind": "drop_connection", "probability": 0.03, "phase": "after"},
        {"kind": "error_code", "code": 105, "probability": 0.02},
        {"kind": "wrong_body", "probability": 0.01, "phase": "after"},
        {"kind": "ticket_fails", "match": {"method": "upload"}, "probability": 0.02},
        {"kind": "slow", "ms": 700, "probability": 0.05},
        {"kind": "slow", "ms": 1500, "probability": 0.03, "phase": "after"},
    ])
}

type Sightings = Arc<Mutex<Vec<Sighting>>>;

/// Looks at accepted jobs all the time, and notes each change of their states.
async fn watch(gateway: Gateway, notes: Notes, sightings: Sightings) {
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut next = 0;
    loop {
        let accepted = notes.accepted();
        if let Some(job_id) = accepted.get(next % accepted.len().max(1))
            && let Read::Job(job) = observe::read(&gateway, job_id).await
            && last.insert(job.id.clone(), job.state.clone()).as_ref() != Some(&job.state)
        {
            let sighting = Sighting {
                job_id: job.id,
                state: job.state,
            };
            sightings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sighting);
        }
        // A stride that meets every job, and not in the order in which they end.
        next = next.wrapping_add(7);
        sleep(Duration::from_millis(40)).await;
    }
}

/// Waits until every job is over and its callback too, or `limit` has passed. Jobs that wait for a budget, perhaps for an
/// hour, are cancelled.
async fn drain(scene: &Scene, notes: &Notes, users: &BTreeSet<String>, limit: Duration) {
    let deadline = Instant::now() + limit;
    let mut told = Instant::now();
    loop {
        let mut open = BTreeMap::new();
        for user in users {
            let mut jobs = observe::list(&scene.gateway, user).await;
            jobs.retain(|job| !is_over(job));
            let has_queued = jobs.iter().any(|job| job.state == "queued");
            let is_spent = has_queued && is_spent(scene, user).await;
            for job in &jobs {
                *open.entry(job.state.clone()).or_insert(0) += 1;
                let says_so = job.error.as_deref() == Some(BUDGET_SPENT);
                if job.state == "queued" && (is_spent || says_so) {
                    let path = format!("/api/v1/jobs/{}", job.id);
                    // Whether it was cancelled is seen when it is looked at next.
                    let _ = scene.gateway.delete(&path).send().await;
                }
            }
        }
        if open.is_empty() || Instant::now() >= deadline {
            return;
        }
        if told.elapsed() > Duration::from_secs(10) {
            println!(
                "           of {} jobs are not over: {open:?}",
                notes.accepted().len()
            );
            told = Instant::now();
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn is_over(job: &SeenJob) -> bool {
    is_final(&job.state) && !matches!(job.callback.as_deref(), Some("waiting" | "pending"))
}

/// Everything that can be seen at rest, of all calls that the mock remembers: budgets count those before the run too.
async fn observed(
    scene: &Scene,
    notes: &Notes,
    users: &[String],
    sightings: &Sightings,
    sink: &str,
    outsider: &Outsider,
) -> History {
    let accepted = notes.accepted();
    let rested = observe::read_all(&scene.gateway, &accepted).await;
    sleep(REST).await;
    let mut listed = Vec::new();
    for user in users {
        listed.extend(observe::list(&scene.gateway, user).await);
    }
    // Those too of which no client was told.
    let known: BTreeSet<_> = accepted
        .iter()
        .cloned()
        .chain(listed.iter().map(|job| job.id.clone()))
        .collect();
    let known: Vec<_> = known.into_iter().collect();
    let later = observe::read_all(&scene.gateway, &known).await;
    let leaked = outsider.sees(&known, users).await;
    let sightings = sightings.lock().unwrap_or_else(PoisonError::into_inner).clone();
    History {
        operations: notes.all(),
        sightings,
        rested,
        later,
        listed,
        calls: observe::calls(&scene.mock, 0).await,
        deliveries: observe::deliveries(&scene.mock, sink).await,
        leaked,
        limits: Vec::new(),
        window_ms: WINDOW_MS,
        losses: Vec::new(),
    }
}

/// How many operations there are of each kind, and in which states their jobs ended.
pub fn tally(history: &History) -> BTreeMap<(Kind, String), usize> {
    let by_trace: BTreeMap<_, _> = history
        .operations
        .iter()
        .flat_map(|operation| {
            operation
                .attempts
                .iter()
                .map(move |attempt| (attempt.trace_id.as_str(), operation))
        })
        .collect();
    let mut tally = BTreeMap::new();
    for job in history.later.values() {
        if let Some(operation) = by_trace.get(job.trace_id.as_str()) {
            let state = match &job.error {
                Some(error) if job.state != "succeeded" => format!("{} ({error})", job.state),
                _ => job.state.clone(),
            };
            *tally.entry((operation.kind, state)).or_insert(0) += 1;
        }
    }
    tally
}
