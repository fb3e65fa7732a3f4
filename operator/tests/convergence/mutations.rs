//! A hub that works is changed at random, as its schema allows and does not allow. The operator never panics, comes to rest
//! after every change, says of which generation it speaks, leaves the data tier as it is where it refuses a change, and
//! a change that is taken back leaves no trace.
//!
//! `FLICKRHUB_MUTATIONS` is how many are tried, by `FLICKRHUB_SEED`.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use flickrhub_operator::build::build;
use flickrhub_operator::crd::{FlickrHub, definitions};
use flickrhub_operator::secrets::SecretsChecksums;
use flickrhub_operator::validate::{References, Surroundings, validate};
use futures::FutureExt as _;
use futures::future::join_all;
use rand::RngExt as _;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::ending::{Ending, Keepsakes};
use crate::fault::Line;
use crate::mutation::Mutator;
use crate::turn::Turn;
use crate::world::{HUB, Moment, World, worlds};

/// Mutations that are tried without further wishes.
const MUTATIONS: usize = 150;
/// Namespaces that are worked on at the same time.
const WORLDS: usize = 3;
/// Changes on top of each other before they are taken back.
const CHAIN: usize = 4;
/// Where a change cannot be taken back, because volumes do not shrink, sets do not change their size, and an issuer stays one.
const FINAL: [&str; 5] = ["redis", "mongodb", "rabbitmq", "vault", "tls"];

/// The schema of a spec.
pub(crate) fn schema() -> Value {
    let definitions = definitions().expect("definitions");
    let definition = serde_json::to_value(&definitions[0]).expect("JSON");
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// A hub that works, and how it looks.
struct Sound {
    moment: Moment,
    spec: Value,
    ending: Ending,
    kept: Keepsakes,
}

/// What became of the mutations.
#[derive(Default)]
struct Tally {
    tried: usize,
    /// Refused by the API server.
    refused: usize,
    /// Written past the API server, as what an older definition allowed.
    smuggled: usize,
    /// By the reason of `Ready`.
    reasons: BTreeMap<String, usize>,
    reverted: usize,
    failures: Vec<String>,
}

async fn sound(world: &World) -> Sound {
    Turn::Create.begin(world).await;
    let rested = world.until_quiet(world.operator(Line::default())).await;
    rested.expect("it comes to rest");
    let hub = world.hub().await.expect("a hub");
    let ending = world.ending(true).await;
    assert!(ending.is_true("Ready"), "{:?}", ending.reason("Ready"));
    Sound {
        moment: world.moment().await,
        spec: hub["spec"].clone(),
        ending,
        kept: world.keepsakes().await,
    }
}

/// Lets the operator work until nothing changes; `Err` if it does not end, or panics.
async fn rest(world: &World) -> Result<(), String> {
    let work = AssertUnwindSafe(world.until_quiet(world.operator(Line::default()))).catch_unwind();
    match work.await {
        Ok(rested) => rested.map(drop),
        Err(_) => Err("the operator panics".to_owned()),
    }
}

fn condition<'a>(hub: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = hub["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)
}

/// What is wrong after a change that was stored.
fn judge(hub: &Value, before: &Ending, after: &Ending) -> Result<String, String> {
    let generation = &hub["metadata"]["generation"];
    let ready = condition(hub, "Ready").ok_or("there is no condition Ready")?;
    if hub["status"]["observedGeneration"] != *generation || ready["observedGeneration"] != *generation {
        return Err("the status is of another generation".to_owned());
    }
    let is_stalled = condition(hub, "Stalled").is_some_and(|stalled| stalled["status"] == "True");
    let reason = ready["reason"].as_str().unwrap_or_default().to_owned();
    let parts_looked_at = condition(hub, "RedisReady").map(|part| &part["observedGeneration"]);
    // A spec that is refused as a whole: the parts were not looked at with it.
    if is_stalled && parts_looked_at != Some(generation) && before.data_tier() != after.data_tier() {
        return Err(format!(
            "the spec is refused ({reason}), and the data tier changed"
        ));
    }
    let sleeps = reason == "Hibernated" && hub["spec"]["hibernated"] == true;
    if !is_stalled && !sleeps && ready["status"] == "False" {
        return Err(format!(
            "it is neither ready nor stalled: {reason}: {}",
            ready["message"]
        ));
    }
    Ok(reason)
}

/// One chain of changes that are taken back at the end.
async fn chain(world: &World, sound: &Sound, mutator: &mut Mutator, tally: &mut Tally) -> Result<(), String> {
    world.go_back(&sound.moment).await;
    let mut before = sound.ending.clone();
    let mut spec = sound.spec.clone();
    let mut trace = Vec::new();
    let mut leaves_something = false;
    for _ in 0..CHAIN {
        let changed = mutator.change(&spec);
        if changed == spec {
            continue;
        }
        tally.tried += 1;
        if world.replace_spec(&changed).await.is_err() {
            if mutator.below(8) > 0 {
                tally.refused += 1;
                continue;
            }
            world.smuggle_spec(&changed).await;
            tally.smuggled += 1;
        }
        trace.push(difference(&spec, &changed));
        let told = |why: String| format!("{why}\nafter {}", trace.join("\nthen "));
        rest(world).await.map_err(told)?;
        let hub = world.hub().await.ok_or("the hub is gone")?;
        let after = world.ending(true).await;
        let reason = judge(&hub, &before, &after).map_err(told)?;
        *tally.reasons.entry(reason).or_default() += 1;
        leaves_something |= is_lasting(&changed, &sound.spec);
        (before, spec) = (after, changed);
    }
    if trace.is_empty() {
        return Ok(());
    }
    let told = |why: String| format!("{why}\nafter {}", trace.join("\nthen "));
    if !world.losses().is_empty() {
        return Err(told(format!("data is lost: {:?}", world.losses())));
    }
    let now = world.keepsakes().await;
    if sound
        .kept
        .iter()
        .any(|(name, kept)| name.starts_with("Secret") && now.get(name) != Some(kept))
    {
        return Err(told("a Secret is lost".to_owned()));
    }
    take_back(world, sound, leaves_something, tally)
        .await
        .map_err(told)
}

/// Takes everything back. Where that is refused, or cannot be without a trace, everything else.
async fn take_back(
    world: &World,
    sound: &Sound,
    leaves_something: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    let Some(hub) = world.hub().await else {
        return Err("the hub is gone".to_owned());
    };
    let is_whole = !leaves_something && world.replace_spec(&sound.spec).await.is_ok();
    if !is_whole {
        let mut spec = sound.spec.clone();
        for part in FINAL {
            spec[part] = hub["spec"][part].clone();
        }
        if world.replace_spec(&spec).await.is_err() {
            // The rest of these parts cannot be taken apart here.
            return Ok(());
        }
    }
    rest(world).await?;
    tally.reverted += 1;
    if !is_whole {
        return Ok(());
    }
    let mut ending = world.ending(true).await;
    let mut expected = sound.ending.clone();
    ending.forget_generations();
    expected.forget_generations();
    match ending.difference(&expected) {
        Some(difference) => Err(format!("it is taken back and leaves a trace:\n{difference}")),
        None => Ok(()),
    }
}

/// Whether something stays when it is taken back: volumes do not shrink, and those of members that were more are kept.
fn is_lasting(spec: &Value, sound: &Value) -> bool {
    let paths = [
        "/redis/storage",
        "/redis/replicas",
        "/mongodb/storage",
        "/mongodb/members",
        "/rabbitmq/storage",
        "/rabbitmq/replicas",
        "/vault/managed/storage",
    ];
    paths.iter().any(|path| spec.pointer(path) != sound.pointer(path))
}

/// The fields in which two specs differ.
fn difference(before: &Value, after: &Value) -> String {
    let fields = after.as_object().into_iter().flatten();
    let changed = fields.filter(|(name, value)| before[name.as_str()] != **value);
    let mut texts: Vec<String> = changed
        .map(|(name, value)| {
            let value: String = value.to_string().chars().take(400).collect();
            format!("{name} = {value}")
        })
        .collect();
    let before = before.as_object().into_iter().flatten();
    let gone = before.filter(|(name, _)| after.get(name.as_str()).is_none());
    texts.extend(gone.map(|(name, _)| format!("no {name}")));
    texts.join(", ")
}

async fn mutate(world: &World, seed: u64, wanted: usize) -> Tally {
    let sound = sound(world).await;
    let mut mutator = Mutator::new(schema(), seed);
    let mut tally = Tally::default();
    while tally.tried < wanted && tally.failures.len() < 20 {
        if let Err(why) = chain(world, &sound, &mut mutator, &mut tally).await {
            tally.failures.push(why);
        }
    }
    tally
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs etcd and kube-apiserver: make test"]
async fn no_change_of_a_hub_wedges_the_operator_or_breaks_its_data_tier() {
    let plane = Arc::new(ControlPlane::start("mutations").await);
    let number = |variable: &str| {
        std::env::var(variable)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seed = number("FLICKRHUB_SEED").unwrap_or_else(|| rand::rng().random());
    let wanted = number("FLICKRHUB_MUTATIONS").and_then(|wanted| usize::try_from(wanted).ok());
    let wanted = wanted.unwrap_or(MUTATIONS) / WORLDS;
    println!("FLICKRHUB_SEED={seed}");
    let worlds = worlds(&plane, "mutation", WORLDS).await;
    let started = std::time::Instant::now();
    let seeds = seed..;
    let work = worlds
        .iter()
        .zip(seeds)
        .map(|(world, seed)| mutate(world, seed, wanted));
    let tallies = join_all(work).await;
    let sum = |what: fn(&Tally) -> usize| tallies.iter().map(what).sum::<usize>();
    println!(
        "mutations: {} tried in {} s: {} refused by the API server, {} written past it, {} chains taken back",
        sum(|tally| tally.tried),
        started.elapsed().as_secs(),
        sum(|tally| tally.refused),
        sum(|tally| tally.smuggled),
        sum(|tally| tally.reverted),
    );
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (reason, count) in tallies.iter().flat_map(|tally| &tally.reasons) {
        *reasons.entry(reason).or_default() += count;
    }
    for (reason, count) in reasons {
        println!("  {reason:<28} {count:>6}");
    }
    let failures: Vec<&String> = tallies.iter().flat_map(|tally| &tally.failures).collect();
    let texts: Vec<&str> = failures.iter().map(|why| why.as_str()).collect();
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        texts.join("\n\n")
    );
}

/// Specs that are drawn without any server.
const DRAWN: usize = 2000;

#[test]
fn a_spec_of_any_shape_is_refused_or_built_and_nothing_panics() {
    let mut mutator = Mutator::new(schema(), 1);
    let minimal = serde_json::from_value::<FlickrHub>(crate::turn::hub()).expect("a hub");
    let (mut readable, mut built) = (0, 0);
    let mut spec = serde_json::to_value(&minimal.spec).expect("JSON");
    let first = spec.clone();
    for number in 0..DRAWN {
        if number % 8 == 0 {
            spec = first.clone();
        }
        spec = mutator.change(&spec);
        let Ok(spec) = serde_json::from_value(spec.clone()) else {
            continue;
        };
        readable += 1;
        let mut hub = FlickrHub::new(HUB, spec);
        hub.metadata.namespace = Some("photos".to_owned());
        let surroundings = Surroundings {
            cluster_domain: "cluster.local".to_owned(),
            operator_namespace: "flickrhub-system".to_owned(),
            version: "1.0.0".to_owned(),
        };
        if let Ok(validated) = validate(&hub, &References::default(), &surroundings) {
            built += 1;
            let objects = build(&validated, &SecretsChecksums::default());
            assert!(!objects.is_empty());
        }
    }
    println!("specs: {DRAWN} drawn, {readable} readable, {built} built");
    assert!(
        built > DRAWN / 20,
        "the generator draws hardly anything that works"
    );
}
