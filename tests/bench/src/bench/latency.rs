//! What the hub adds to Flickr's own time when nothing stands in a job's way.
//!
//! A job at a time, or a few, from the moment at which the client begins to send it to the moment at which it has the
//! result. The client asks to wait for the result (`Prefer: wait`); where the API answers earlier, it asks again at once.
//! What a call of Flickr's stand-in takes without the hub, measured beside it, is taken off.

use std::time::{Duration, Instant};

use flickrhub_e2e::cluster;
use futures::future::join_all;
use reqwest::Client;
use serde_json::{Value, json};

use crate::Failure;
use crate::http_client::Connection;
use crate::jobs::{Jobs, noop};
use crate::processes::Containers;
use crate::quantile::{Times, number};
use crate::report::Report;
use crate::scene::{Scene, tell_shares};

const BENCH: &str = "latency";
/// Seconds that the client lets the API hold an answer back.
const WAIT: u8 = 5;
/// The pause before the client asks again, where the API does not wait.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest that one job may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Jobs at a time.
const AT_A_TIME: [usize; 2] = [1, 8];
/// Jobs before the measurement.
const WARM_UP: usize = 20;
/// Direct calls of Flickr's stand-in.
const DIRECT: usize = 200;

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    scene.hub.start_dispatcher().await?;
    let jobs = Jobs::from_now(&scene.tier, &scene.users);
    let outcome = measure(scene, report).await;
    jobs.over(LIMIT).await?;
    jobs.remove().await?;
    outcome
}

async fn measure(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    several(scene, WARM_UP, 1).await?;
    let flickr = flickr_itself().await?.quantile(0.5);
    report.figure(
        BENCH,
        "flickr_mock_p50_ms",
        flickr.as_secs_f64() * 1e3,
        "ms",
        Value::Null,
    )?;
    for at_a_time in AT_A_TIME {
        let containers = Containers::of_the_hub(&scene.client).await?;
        let before = containers.cpu()?;
        let measured = several(scene, scene.options.latency_jobs, at_a_time).await?;
        let spent = before.until(&containers.cpu()?);
        let labels = json!({"at_a_time": at_a_time});
        let added: Times = measured
            .iter()
            .map(|job| job.took.saturating_sub(flickr))
            .collect();
        let accepted: Times = measured.iter().map(|job| job.accepted_after).collect();
        for (name, q) in [("added_latency_p50_ms", 0.5), ("added_latency_p99_ms", 0.99)] {
            report.figure(BENCH, name, added.quantile_ms(q), "ms", labels.clone())?;
        }
        report.figure(
            BENCH,
            "first_answer_p50_ms",
            accepted.quantile_ms(0.5),
            "ms",
            labels.clone(),
        )?;
        let asked = measured.iter().map(|job| job.asked).sum::<usize>();
        report.figure(
            BENCH,
            "requests_per_job",
            number(asked) / number(measured.len()).max(1.0),
            "requests",
            labels.clone(),
        )?;
        let shares = (spent.ours(), spent.services());
        tell_shares(
            report,
            (BENCH, "latency_cpu_ms_per_job"),
            measured.len(),
            shares,
            &labels,
        )?;
    }
    Ok(())
}

/// One job.
struct Measured {
    /// Until the client had the result.
    took: Duration,
    /// Until the client had the first answer.
    accepted_after: Duration,
    /// Requests of the client.
    asked: usize,
}

async fn several(scene: &Scene, jobs: usize, at_a_time: usize) -> Result<Vec<Measured>, Failure> {
    let clients = (0..at_a_time).map(async |client| {
        let mut connection = scene.target.connect().await?;
        let mut measured = Vec::new();
        for index in (client..jobs).step_by(at_a_time) {
            let user = &scene.users[index % scene.users.len()];
            measured.push(one(&mut connection, user, index).await?);
        }
        Ok::<_, Failure>(measured)
    });
    let measured: Result<Vec<_>, Failure> = join_all(clients).await.into_iter().collect();
    Ok(measured?.into_iter().flatten().collect())
}

async fn one(connection: &mut Connection, user: &str, index: usize) -> Result<Measured, Failure> {
    let began = Instant::now();
    let answer = connection.submit(noop(user, index), Some(WAIT)).await?;
    let accepted_after = began.elapsed();
    let (mut job, mut asked) = (answer.json(), 1);
    let id = job["job_id"]
        .as_str()
        .ok_or_else(|| format!("{} {job}", answer.status))?
        .to_owned();
    loop {
        if job["finished_at"].is_string() {
            let took = began.elapsed();
            return if job["state"] == "succeeded" {
                Ok(Measured {
                    took,
                    accepted_after,
                    asked,
                })
            } else {
                Err(format!("the job did not succeed: {job}").into())
            };
        }
        if began.elapsed() > LIMIT {
            return Err(format!("the job does not end: {job}").into());
        }
        if asked > 1 {
            tokio::time::sleep(PAUSE).await;
        }
        job = connection.job(&id, Some(WAIT)).await?.json();
        asked += 1;
    }
}

/// How long Flickr's stand-in takes for a call, without the hub.
async fn flickr_itself() -> Result<Times, Failure> {
    let http = Client::new();
    let rest = format!(
        "http://flickr-mock.{}.svc:8080/services/rest",
        cluster::namespace()
    );
    let call = format!("{rest}?method=flickr.test.echo&format=json&nojsoncallback=1");
    let mut times = Vec::with_capacity(DIRECT);
    for _ in 0..DIRECT {
        let sent = Instant::now();
        http.get(&call).send().await?.bytes().await?;
        times.push(sent.elapsed());
    }
    Ok(times.into_iter().collect())
}
