//! What the way of a job through MongoDB costs, each write alone and in groups: CPU time of this process and of every
//! `mongod` on this machine, by the number of concurrent callers.
//!
//! ```text
//! FLICKRHUB_TEST_CONFIG=… cargo bench -p flickrhub-job --bench group_commit
//! ```
//!
//! Prints a table, and one JSON object for each number. Other work of the same `mongod` counts too: run it with nothing else.

#![expect(
    clippy::expect_used,
    reason = "a bench stops at the first thing that is not as expected"
)]

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use flickrhub_job::config::Config;
use flickrhub_job::connection;
use flickrhub_job::model::{Job, JobId, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use flickrhub_job::store::{AttemptEnd, Holder, JobStore, id, time};
use futures::{StreamExt, stream};
use jiff::SignedDuration;
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};
use serde_json::json;

const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// The longest that one measurement takes, about.
const PERIOD: Duration = Duration::from_secs(4);
const MOST: usize = 4_000;
/// Clock ticks of `/proc/PID/stat` in a second (`USER_HZ`), the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

#[tokio::main]
async fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let path = std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names the configuration");
    let mut config = Config::load(Path::new(&path))
        .expect("the configuration is valid")
        .mongodb;
    config.database = format!("bench-{}", uuid::Uuid::now_v7().simple());
    let database = connection::mongodb::connect(&config)
        .await
        .expect("the settings are valid");
    let store = JobStore::open(&database, 1).await.expect("MongoDB is reachable");
    println!("step      way     callers    per s  own ms  mongod ms");
    for callers in [1, 16, 128] {
        alone(&database, callers).await;
        grouped(&store, callers).await;
    }
    database.drop().await.expect("the database is dropped");
}

/// Each write by itself: what a store without groups does.
async fn alone(database: &Database, callers: usize) {
    let jobs = database.collection::<Job>("jobs");
    let few: Vec<Job> = (0..MOST).map(|_| job()).collect();
    let done = measure("insert", "alone", callers, &few, |job| async {
        jobs.insert_one(&job).await.expect("stored");
        job
    })
    .await;
    let done = measure("dispatch", "alone", callers, &done, |job| {
        moved(
            &jobs,
            job,
            doc! { "state": "queued" },
            doc! { "state": "dispatched", "attempt": 1, "lease_until": time::to_bson(time::now() + LEASE) },
        )
    })
    .await;
    let done = measure("claim", "alone", callers, &done, |job| {
        moved(
            &jobs,
            job,
            doc! { "state": "dispatched", "attempt": 1 },
            doc! { "state": "running" },
        )
    })
    .await;
    measure("end", "alone", callers, &done, |job| {
        moved(&jobs, job, doc! { "state": "running", "attempt": 1 }, doc! { "state": "succeeded", "finished_at": time::to_bson(time::now()), "lease_until": null, "result": "{}" })
    })
    .await;
}

async fn moved(jobs: &Collection<Job>, job: Job, guard: Document, set: Document) -> Job {
    let mut filter = doc! { "_id": id::to_bson(job.id) };
    filter.extend(guard);
    jobs.find_one_and_update(filter, vec![doc! { "$set": set }])
        .return_document(ReturnDocument::After)
        .await
        .expect("MongoDB answers")
        .expect("the guard holds")
}

/// As the store does it.
async fn grouped(store: &JobStore, callers: usize) {
    let few: Vec<Job> = (0..MOST).map(|_| job()).collect();
    let done = measure("insert", "group", callers, &few, |job| async {
        store.insert(&job).await.expect("stored");
        job
    })
    .await;
    let size = callers.min(64);
    let batches: Vec<Vec<JobId>> = done
        .chunks(size)
        .map(|batch| batch.iter().map(|job| job.id).collect())
        .collect();
    let meter = Meter::start();
    let mut dispatched = Vec::new();
    for batch in &batches {
        let outcomes = store
            .dispatch_many(batch, Holder::new(), LEASE)
            .await
            .expect("MongoDB answers");
        dispatched.extend(
            outcomes
                .into_iter()
                .map(|job| job.expect("MongoDB answers").expect("dispatched")),
        );
    }
    meter.report("dispatch", "group", callers, dispatched.len());
    let done = measure("claim", "group", callers, &dispatched, |job| async move {
        let claimed = store.claim(job.id, job.attempt, Holder::new(), LEASE).await;
        claimed.expect("MongoDB answers").expect("claimed")
    })
    .await;
    let result = &json!({});
    measure("end", "group", callers, &done, |job| async move {
        let ended = store
            .end(&job, AttemptEnd::Succeeded(result), Holder::new())
            .await;
        ended.expect("MongoDB answers").expect("ended")
    })
    .await;
}

/// Does `work` for as many of the jobs as the period allows, by so many callers at once; what became of them.
async fn measure<F: Future<Output = Job>>(
    step: &str,
    way: &str,
    callers: usize,
    jobs: &[Job],
    work: impl Fn(Job) -> F,
) -> Vec<Job> {
    let ends = Instant::now() + PERIOD;
    let meter = Meter::start();
    let in_time = jobs.iter().cloned().take_while(|_| Instant::now() < ends);
    let done: Vec<Job> = stream::iter(in_time)
        .map(work)
        .buffer_unordered(callers)
        .collect()
        .await;
    meter.report(step, way, callers, done.len());
    done
}

/// CPU time that is used from now on.
struct Meter {
    started: Instant,
    own: f64,
    mongod: f64,
}

impl Meter {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            own: cpu_ms(|pid, _| pid == std::process::id()),
            mongod: cpu_ms(|_, name| name == "mongod"),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a bench are small")]
    fn report(&self, step: &str, way: &str, callers: usize, count: usize) {
        let count = count.max(1) as f64;
        let per_second = count / self.started.elapsed().as_secs_f64();
        let own = (cpu_ms(|pid, _| pid == std::process::id()) - self.own) / count;
        let mongod = (cpu_ms(|_, name| name == "mongod") - self.mongod) / count;
        println!("{step:<9} {way:<7} {callers:>7} {per_second:>8.0} {own:>7.3} {mongod:>10.3}");
        for (metric, value, unit) in [
            ("per_s", per_second, "1/s"),
            ("own_cpu_ms_per_job", own, "ms"),
            ("mongod_cpu_ms_per_job", mongod, "ms"),
        ] {
            println!(
                "{}",
                json!({
                    "bench": "group_commit", "metric": metric, "value": value, "unit": unit,
                    "labels": { "step": step, "way": way, "callers": callers },
                })
            );
        }
    }
}

/// The CPU time that the chosen processes have used so far, in milliseconds.
fn cpu_ms(chosen: impl Fn(u32, &str) -> bool) -> f64 {
    let processes = std::fs::read_dir("/proc").expect("Linux");
    let ticks: u64 = processes
        .flatten()
        .filter_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
            // The name is in parentheses; utime and stime are the 12th and 13th field after it (proc(5)).
            let (before, after) = stat.rsplit_once(')')?;
            let name = before.split_once('(')?.1;
            let fields: Vec<&str> = after.split_ascii_whitespace().collect();
            let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
            chosen(pid, name).then_some(ticks)
        })
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "centuries away")]
    let ticks = ticks as f64;
    ticks / TICKS_PER_SECOND * 1_000.0
}

fn job() -> Job {
    let now = time::now();
    NewJob {
        client_id: "acme".to_owned(),
        user_id: "12037949754@N01".to_owned(),
        app: "main".to_owned(),
        queue: Queue::Rest,
        method: "flickr.photos.search".to_owned(),
        params: std::iter::once(("text".to_owned(), "lighthouse".to_owned())).collect(),
        trace: TraceContext {
            trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        },
    }
    .accepted(now, now + SignedDuration::from_hours(1))
}
