//! A run, from set-up to verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_e2e::gateway::Gateway;
use flickrhub_e2e::scene::{Scene, unique};
use flickrhub_job::limits::LIMITS_FILE;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::{Violation, check};
use crate::client::{Client, Notes, submit};
use crate::history::{Answer, Budgets, History, Kind, SeenJob, Sighting, is_final};
use crate::nemesis::{Done, Nemesis};
use crate::observe::{self, Read};
use crate::order::Order;
use crate::outsider::Outsider;
use crate::schedule::schedule;

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

/// Runs, and says what happens as it happens.
pub async fn run(scene: &Scene, options: Options) -> Outcome {
    let name = unique("chaos");
    // A run before this one may have broken off.
    scene.mock.clear_faults().await;
    let nemesis = Nemesis::look(scene.client.clone()).await;
    let steps = schedule(options.seed, options.length, nemesis.nodes());
    let outsider = Outsider::come(&scene.client, &scene.gateway, &name).await;
    let first_call = observe::last_call(&scene.mock).await;
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
    drain(scene, &notes, &users, options.drain).await;
    let drained_after = submitted.elapsed().as_secs_f64();
    watcher.abort();

    println!(
        "  {:>6.1} s  reading what became of it",
        start.elapsed().as_secs_f64()
    );
    let users: Vec<_> = users.into_iter().collect();
    let history = observed(scene, &notes, &users, &sightings, (first_call, &sink), &outsider).await;
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
    for (name, user, rng, job_id) in first_jobs {
        let job = scene.gateway.finished(&job_id).await;
        clients.push(Client {
            gateway: scene.gateway.clone(),
            photo_id: job["result"]["photo_id"].as_str().expect("a photo").to_owned(),
            user,
            name,
            sink: scene.mock.sink(sink),
            pause: options.pause,
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

/// Waits until every job is over and its callback too, or `limit` has passed.
async fn drain(scene: &Scene, notes: &Notes, users: &BTreeSet<String>, limit: Duration) {
    let deadline = Instant::now() + limit;
    let mut told = Instant::now();
    loop {
        let mut open = BTreeMap::new();
        for user in users {
            for job in observe::list(&scene.gateway, user)
                .await
                .iter()
                .filter(|job| !is_over(job))
            {
                *open.entry(job.state.clone()).or_insert(0) += 1;
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

/// Everything that can be seen at rest.
async fn observed(
    scene: &Scene,
    notes: &Notes,
    users: &[String],
    sightings: &Sightings,
    (first_call, sink): (u64, &str),
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
        calls: observe::calls(&scene.mock, first_call).await,
        deliveries: observe::deliveries(&scene.mock, sink).await,
        leaked,
        budgets: budgets(scene).await,
    }
}

/// What the hub is configured to allow itself.
async fn budgets(scene: &Scene) -> Budgets {
    let configs: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &cluster::namespace());
    let files = configs
        .get(&format!("{}-config", cluster::hub()))
        .await
        .expect("the configuration of the hub")
        .data
        .unwrap_or_default();
    let number = |file: &str, path: &[&str]| {
        let yaml: Value = serde_yaml_ng::from_str(&files[file]).expect("YAML");
        let number = yaml
            .pointer(&format!("/{}", path.join("/")))
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{file} has no number {path:?}"));
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    Budgets {
        per_app: number("config.yaml", &["flickr", "apps", "0", "requestsPerHour"]),
        per_user: number(LIMITS_FILE, &["perUserPerHour"]),
        window_ms: 3_600_000,
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
