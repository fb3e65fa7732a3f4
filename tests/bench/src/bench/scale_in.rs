//! Workers that go while there is work: how many messages have to be handed out again, whether a job is lost or tried twice,
//! and how long a worker takes to go.
//!
//! The workers of the queue are raised and lowered through the resource, so everything on the way is as in production: the
//! operator's HPA, the controller that chooses pods, SIGTERM, the grace period. Each job takes long enough that workers hold
//! messages when they are told to go, in work and ahead of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use flickrhub_e2e::cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use mongodb::bson::{Document, doc};
use reqwest::Client;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::Failure;
use crate::jobs::Jobs;
use crate::load;
use crate::quantile::number;
use crate::report::Report;
use crate::scene::Scene;
use crate::users;

const BENCH: &str = "scale_in";
/// Workers at the most and at the least.
const MANY: u32 = 8;
const FEW: u32 = 2;
/// Jobs in a second: near what the fewest workers run, so that they hold messages ahead.
const RATE: u32 = 30;
/// How long Flickr's stand-in takes for one.
const CALL: Duration = Duration::from_millis(400);
/// For how long the most workers work before they become fewer.
const WORK: Duration = Duration::from_secs(4);
/// The longest that workers may take to come, or to go.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What was seen of workers that went.
#[derive(Default)]
struct Seen {
    /// Workers that went.
    gone: usize,
    /// The longest that one took.
    longest: Duration,
}

pub(super) async fn run(scene: &mut Scene, report: &mut Report) -> Result<(), Failure> {
    scene.populate().await?;
    scene.hub.start_dispatcher().await?;
    slow_down().await?;
    let outcome = measure(scene, report).await;
    speed_up().await?;
    outcome
}

async fn measure(scene: &Scene, report: &mut Report) -> Result<(), Failure> {
    let redeliveries_before = redeliveries(scene).await?;
    let jobs = Jobs::from_now(&scene.tier, &scene.users);
    let (connections, _) = load::open(&scene.target, scene.options.in_flight).await;
    // Enough for the whole run; it is stopped at its end.
    let body = jobs.body();
    let load = tokio::spawn(load::paced(
        connections,
        usize::try_from(RATE)? * 3600,
        RATE,
        body,
    ));
    let seen = scale(scene).await;
    load.abort();
    let seen = seen?;
    let over = jobs.over(PATIENCE).await?;
    let ended = jobs.ended().await?;
    let succeeded = ended.states.get("succeeded").copied().unwrap_or_default();
    let all: usize = ended.states.values().sum();
    if !over || succeeded != all {
        eprintln!("{BENCH}: {:?}", ended.states);
    }
    let again = redeliveries(scene).await?.saturating_sub(redeliveries_before);
    let labels = || json!({"scale_ins": seen.gone, "workers": MANY, "least": FEW});
    report.figure(
        BENCH,
        "scale_in_redeliveries",
        number(again),
        "redeliveries",
        labels(),
    )?;
    report.figure(BENCH, "scale_ins", number(seen.gone), "workers", Value::Null)?;
    report.figure(BENCH, "jobs", number(all), "jobs", Value::Null)?;
    report.figure(
        BENCH,
        "not_succeeded",
        number(all - succeeded),
        "jobs",
        Value::Null,
    )?;
    report.figure(
        BENCH,
        "tried_again",
        number(tried_again(scene, &jobs).await?),
        "jobs",
        Value::Null,
    )?;
    report.figure(
        BENCH,
        "scale_in_s",
        seen.longest.as_secs_f64(),
        "s",
        json!({"quantile": "max"}),
    )?;
    Ok(())
}

/// Lets workers come and go until enough of them went.
async fn scale(scene: &Scene) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    while seen.gone < scene.options.scale_ins {
        scene.hub.set_workers(MANY).await?;
        wait_for(scene, MANY, &mut Seen::default()).await?;
        tokio::time::sleep(WORK).await;
        scene.hub.set_workers(FEW).await?;
        wait_for(scene, FEW, &mut seen).await?;
        eprintln!(
            "{BENCH}: {} of {} workers went",
            seen.gone, scene.options.scale_ins
        );
    }
    Ok(seen)
}

/// Waits until so many workers are there, all of them ready and none on its way out, and takes note of those that go.
async fn wait_for(scene: &Scene, wanted: u32, seen: &mut Seen) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &cluster::namespace());
    let selector = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component=worker-rest",
        cluster::hub()
    );
    let params = ListParams::default().labels(&selector);
    let deadline = Instant::now() + PATIENCE;
    let mut leaving: BTreeMap<String, Instant> = BTreeMap::new();
    while Instant::now() < deadline {
        let found = pods.list(&params).await?.items;
        let names: BTreeSet<String> = found.iter().map(ResourceExt::name_any).collect();
        leaving.retain(|name, since| {
            let is_there = names.contains(name);
            if !is_there {
                seen.gone += 1;
                seen.longest = seen.longest.max(since.elapsed());
            }
            is_there
        });
        for pod in found
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_some())
        {
            leaving.entry(pod.name_any()).or_insert_with(Instant::now);
        }
        let ready = found.iter().filter(|pod| is_ready(pod)).count();
        if leaving.is_empty() && found.len() == usize::try_from(wanted)? && ready == found.len() {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("there are not {wanted} workers after {} s", PATIENCE.as_secs()).into())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The messages of the queue that RabbitMQ has handed out again since it began to count.
async fn redeliveries(scene: &Scene) -> Result<usize, Failure> {
    let host = format!("{}-rabbitmq.{}.svc", cluster::hub(), cluster::namespace());
    let password = scene.tier.rabbitmq_password.expose_secret();
    let answer = Client::new()
        .get(format!("http://{host}:15672/api/queues/%2F/flickr_rest"))
        .basic_auth("flickrhub", Some(password))
        .send()
        .await?
        .error_for_status()?;
    let queue: Value = answer.json().await?;
    // Without an entry there was none.
    let count = queue.pointer("/message_stats/redeliver").and_then(Value::as_u64);
    Ok(usize::try_from(count.unwrap_or_default())?)
}

/// Jobs that were dispatched more than once.
async fn tried_again(scene: &Scene, jobs: &Jobs<'_>) -> Result<usize, Failure> {
    let mut filter: Document = jobs.filter();
    filter.insert("attempt", doc! { "$gt": 1 });
    let collection = scene.tier.database.collection::<Document>("jobs");
    Ok(usize::try_from(collection.count_documents(filter).await?)?)
}

async fn slow_down() -> Result<(), Failure> {
    let milliseconds = u64::try_from(CALL.as_millis())?;
    let rules = json!([{"match": {"method": "flickr.test.echo"}, "kind": "slow", "ms": milliseconds}]);
    let answer = Client::new()
        .post(users::mock("faults"))
        .json(&rules)
        .send()
        .await?;
    answer.error_for_status()?;
    Ok(())
}

async fn speed_up() -> Result<(), Failure> {
    let answer = Client::new().delete(users::mock("faults")).send().await?;
    answer.error_for_status()?;
    Ok(())
}
