//! Where each part stands: what its engine says, together with what Kubernetes says of its pods. Pure, but for asking
//! the engines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::apply::Live;
use crate::build::Kind;
use crate::context::Context;
use crate::hibernation::{self, Stage};
use crate::lack::{Lack, Withheld};
use crate::part::{Part, PartStatus};
use crate::rolling::Progress;
use crate::rollout::Rollout;
use crate::secrets::Secrets;
use crate::validate::{ValidatedHub, VaultPlan};

/// The reason of a part whose workloads have no pods.
const NO_PODS: &str = "NoPods";
/// The reason of a part that still rests while the hub wakes.
const WAKING: &str = "Waking";

/// When to look again at pods that are not as they should be; mostly their watch is faster.
const SOON: Duration = Duration::from_secs(5);
/// When to look again at pods that are replaced one after the other.
const STEP: Duration = Duration::from_secs(1);
/// The reason of a part whose pods are not all there, or run old settings.
const ROLLING_OUT: &str = "RollingOut";
/// The reason of a part that serves while some of its members do not.
const DEGRADED: &str = "Degraded";

/// The parts that hold data, after their engines were brought a step on.
pub async fn data(
    ctx: &Context,
    hub: &ValidatedHub,
    secrets: &Secrets,
    live: &Live,
    stage: Stage,
) -> BTreeMap<Part, PartStatus> {
    let has_no_pods = |part| {
        let set = data_set(hub, part)?;
        if stage.rests(part) {
            return Some(hibernation::resting());
        }
        without_pods(live, Kind::StatefulSet, &set)
    };
    let redis = async {
        if let Some(status) = has_no_pods(Part::Redis) {
            return (status, Progress::Idle);
        }
        match &secrets.redis {
            Ok(secrets) => ctx.data_tier.redis(ctx, hub, secrets, live).await,
            Err(loss) => (loss.lack().status(), Progress::Idle),
        }
    };
    let mongodb = async {
        if let Some(status) = has_no_pods(Part::MongoDb) {
            return (status, Progress::Idle);
        }
        match &secrets.mongodb {
            Ok(secrets) => ctx.data_tier.mongodb(ctx, hub, secrets, live).await,
            Err(loss) => (loss.lack().status(), Progress::Idle),
        }
    };
    let rabbitmq = async {
        if let Some(status) = has_no_pods(Part::RabbitMq) {
            return (status, Progress::Idle);
        }
        match &secrets.rabbitmq {
            Ok(secrets) => ctx.data_tier.rabbitmq(ctx, hub, secrets, live).await,
            Err(loss) => (loss.lack().status(), Progress::Idle),
        }
    };
    let vault = async {
        match has_no_pods(Part::Vault) {
            Some(status) => (status, Progress::Idle),
            None => ctx.data_tier.vault(ctx, hub, live).await,
        }
    };
    let (redis, mongodb, rabbitmq, vault) = tokio::join!(redis, mongodb, rabbitmq, vault);
    [
        (Part::Redis, redis),
        (Part::MongoDb, mongodb),
        (Part::RabbitMq, rabbitmq),
        (Part::Vault, vault),
    ]
    .into_iter()
    .map(|(part, (engine, progress))| {
        let rollout = data_set(hub, part).map_or(Rollout::Complete, |set| {
            Rollout::of(live, Kind::StatefulSet, &set)
        });
        let status = with_rollout(engine, &rollout, hub.is_settled(part));
        (part, with_progress(status, &progress))
    })
    .collect()
}

/// A part whose pods are being replaced says what that waits for. One that has stopped is looked at again in a while: what
/// it waits for is not of the operator's making.
fn with_progress(status: PartStatus, progress: &Progress) -> PartStatus {
    match progress {
        Progress::Idle => status,
        Progress::Working(what) => PartStatus {
            ready: false,
            reason: if status.ready { ROLLING_OUT } else { status.reason },
            message: format!("{} The change of its pods goes on: {what}.", status.message),
            requeue_after: Some(STEP),
            ..status
        },
        Progress::Blocked(why) => PartStatus {
            ready: false,
            reason: if status.ready || status.reason == ROLLING_OUT {
                "RolloutBlocked"
            } else {
                status.reason
            },
            message: format!("{} The change of its pods has stopped: {why}.", status.message),
            requeue_after: status.requeue_after.or(Some(SOON)),
            ..status
        },
    }
}

/// The StatefulSet of a part; none for a Vault that the user runs.
fn data_set(hub: &ValidatedHub, part: Part) -> Option<String> {
    match part {
        Part::Redis => Some(hub.names.redis()),
        Part::MongoDb => Some(hub.names.mongodb()),
        Part::RabbitMq => Some(hub.names.rabbitmq()),
        Part::Vault => matches!(hub.vault, VaultPlan::Managed(_)).then(|| hub.names.vault()),
        Part::Api | Part::Dispatcher | Part::Workers => None,
    }
}

/// That a workload has no pods yet, or any more: there is nobody to ask, and what changes that is seen by its watch.
fn without_pods(live: &Live, kind: Kind, name: &str) -> Option<PartStatus> {
    let object = live.get(kind, name)?;
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    (number("/status/replicas") == 0).then(|| PartStatus {
        requeue_after: None,
        ..PartStatus::waiting(
            NO_PODS,
            format!(
                "Waits for Kubernetes to make the pods of {name}; if that does not happen, its events tell why."
            ),
            SOON,
        )
    })
}

/// An engine that is well is ready once all of its pods run the current settings. A part that has settled stays so while
/// a pod is away: the engine has judged whether the others suffice.
fn with_rollout(engine: PartStatus, rollout: &Rollout, is_settled: bool) -> PartStatus {
    if !engine.ready {
        return engine;
    }
    match rollout {
        // New members have started, and the engine has not taken all of them in yet.
        Rollout::Complete if engine.reason == DEGRADED && !is_settled => PartStatus {
            ready: false,
            reason: ROLLING_OUT,
            ..engine
        },
        Rollout::Complete => engine,
        Rollout::Serving(_) if is_settled => engine,
        Rollout::Serving(clause) | Rollout::Incomplete(clause) => rolling_out(clause),
    }
}

fn rolling_out(clause: &str) -> PartStatus {
    PartStatus::waiting(ROLLING_OUT, format!("Waits for pods: {clause}."), SOON)
}

/// Whether an object waits for the data tier: a process that does not exist, of a hub whose data tier never worked. It
/// could do nothing but fail until then.
///
/// So does one that rests, of a hub that wakes.
pub fn is_held(hub: &ValidatedHub, live: &Live, kind: Kind, name: &str) -> bool {
    let is_process = kind == Kind::Deployment || kind.is_autoscaler();
    let is_first = !hub.data_was_ready() && live.get(kind, name).is_none();
    let wakes = !hub.hibernated && hibernation::is_at_rest(live, kind, name);
    is_process && (is_first || wakes)
}

/// The parts that hold no data. `withheld` are the workloads that wait for a Secret.
pub fn processes(
    hub: &ValidatedHub,
    live: &Live,
    data: &BTreeMap<Part, PartStatus>,
    withheld: &Withheld,
    stage: Stage,
) -> BTreeMap<Part, PartStatus> {
    [
        (Part::Api, vec![hub.names.api()]),
        (
            Part::Dispatcher,
            vec![hub.names.dispatcher(), hub.names.callbacks()],
        ),
        (
            Part::Workers,
            hub.queues
                .keys()
                .map(|queue| hub.names.queue_worker(*queue))
                .collect(),
        ),
    ]
    .into_iter()
    .map(|(part, deployments)| {
        let status = if stage.rests(part) {
            hibernation::resting()
        } else {
            waits_for_secret(withheld, &deployments)
                .unwrap_or_else(|| process(hub, live, data, part, &deployments))
        };
        (part, status)
    })
    .collect()
}

/// That a process is left as it is because it mounts a Secret that is missing; `None` if none is. Pods that still run
/// go on, but not with the settings of this generation.
fn waits_for_secret(withheld: &Withheld, deployments: &[String]) -> Option<PartStatus> {
    let mut lacks = deployments
        .iter()
        .filter_map(|name| withheld.get(&(Kind::Deployment, name.clone())));
    lacks.next().map(Lack::status)
}

fn process(
    hub: &ValidatedHub,
    live: &Live,
    data: &BTreeMap<Part, PartStatus>,
    part: Part,
    deployments: &[String],
) -> PartStatus {
    let is_held = |name: &String| is_held(hub, live, Kind::Deployment, name);
    if deployments.iter().any(is_held)
        && let Some(wait) = waits_for_data(data)
    {
        return wait;
    }
    if deployments
        .iter()
        .any(|name| hibernation::is_at_rest(live, Kind::Deployment, name))
    {
        return PartStatus::waiting(WAKING, "Wakes after what it needs.", SOON);
    }
    let worst = deployments
        .iter()
        .map(|name| Rollout::of(live, Kind::Deployment, name))
        .max();
    let without = deployments
        .iter()
        .filter_map(|name| without_pods(live, Kind::Deployment, name));
    let without: Vec<PartStatus> = without.collect();
    if worst.as_ref().is_some_and(|worst| *worst != Rollout::Complete)
        && without.len() == deployments.len()
        && let Some(status) = without.into_iter().next()
    {
        return status;
    }
    let running = PartStatus::ready("Its pods run and reach what they need.");
    with_rollout(running, &worst.unwrap_or(Rollout::Complete), hub.is_settled(part))
}

/// That a process is not started before the data tier works; `None` if it works.
fn waits_for_data(data: &BTreeMap<Part, PartStatus>) -> Option<PartStatus> {
    let missing: Vec<&str> = data
        .iter()
        .filter(|(_, status)| !status.ready)
        .map(|(part, _)| part.condition())
        .collect();
    (!missing.is_empty()).then(|| {
        let message = format!(
            "Starts once the data tier works; waits for {}.",
            missing.join(", ")
        );
        // The parts that hold data are looked at as often as they ask for.
        PartStatus {
            requeue_after: None,
            ..PartStatus::waiting("WaitingForData", message, SOON)
        }
    })
}

/// Whether every part of a set is ready.
pub fn all_ready(parts: &BTreeMap<Part, PartStatus>) -> bool {
    parts.values().all(|status| status.ready)
}

/// The API, once the client that every hub starts with is registered.
pub fn with_client(api: PartStatus, client: PartStatus) -> PartStatus {
    if api.ready && !client.ready { client } else { api }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    fn well() -> PartStatus {
        PartStatus::ready("It runs.")
    }

    fn clause() -> String {
        "1 of 3 pods of redis are ready".to_owned()
    }

    #[test]
    fn a_part_becomes_ready_only_when_all_of_its_pods_are() {
        assert!(!with_rollout(well(), &Rollout::Serving(clause()), false).ready);
        assert!(with_rollout(well(), &Rollout::Complete, false).ready);
    }

    #[test]
    fn a_part_that_has_settled_survives_the_loss_of_a_pod() {
        assert!(with_rollout(well(), &Rollout::Serving(clause()), true).ready);
    }

    #[test]
    fn a_part_whose_pods_run_old_settings_is_not_ready_even_if_it_was() {
        let status = with_rollout(well(), &Rollout::Incomplete(clause()), true);
        assert_eq!((status.ready, status.reason), (false, "RollingOut"));
    }

    #[test]
    fn a_change_that_has_stopped_says_why() {
        let rolling = with_rollout(well(), &Rollout::Incomplete(clause()), true);
        let working = with_progress(rolling.clone(), &Progress::Working("redis-2 stops".to_owned()));
        assert_eq!((working.reason, working.requeue_after), (ROLLING_OUT, Some(STEP)));
        let why = Progress::Blocked("redis-2 is not restarted now: no other replica".to_owned());
        let blocked = with_progress(rolling, &why);
        assert_eq!((blocked.ready, blocked.reason), (false, "RolloutBlocked"));
        assert!(blocked.message.ends_with(
            "The change of its pods has stopped: redis-2 is not restarted now: no other replica."
        ));
        let engine = PartStatus::waiting("NoMaster", "There is no master.", SOON);
        assert_eq!(with_progress(engine, &why).reason, "NoMaster");
    }

    #[test]
    fn a_part_that_gets_smaller_is_not_ready_before_it_has_the_wanted_size() {
        for progress in [
            Progress::Working("stops".to_owned()),
            Progress::Blocked("no".to_owned()),
        ] {
            assert!(!with_progress(well(), &progress).ready);
        }
        assert!(with_progress(well(), &Progress::Idle).ready);
    }

    #[test]
    fn members_that_have_not_joined_keep_a_new_generation_from_being_ready() {
        let degraded = PartStatus {
            reason: DEGRADED,
            ..well()
        };
        assert!(!with_rollout(degraded.clone(), &Rollout::Complete, false).ready);
        assert!(with_rollout(degraded, &Rollout::Complete, true).ready);
    }

    #[test]
    fn an_engine_that_is_not_well_says_why() {
        let engine = PartStatus::waiting("NoMaster", "There is no master.", SOON);
        assert_eq!(with_rollout(engine.clone(), &Rollout::Complete, true), engine);
    }

    #[test]
    fn processes_are_held_until_every_part_of_the_data_tier_works() {
        let starting = PartStatus::waiting("Starting", "It starts.", SOON);
        let data = BTreeMap::from([(Part::Redis, well()), (Part::Vault, starting)]);
        let wait = waits_for_data(&data);
        assert!(wait.is_some_and(|status| status.message.ends_with("waits for VaultReady.")));
        assert_eq!(waits_for_data(&BTreeMap::from([(Part::Redis, well())])), None);
    }

    #[test]
    fn only_the_first_start_of_a_process_waits_for_the_data_tier() {
        let mut hub = fixtures::validated(&fixtures::minimal());
        let api = (Kind::Deployment, "gallery-api".to_owned(), json!({}));
        let (absent, live) = (Live::default(), Live::of([api]));
        let held = |hub: &ValidatedHub, live: &Live| is_held(hub, live, Kind::Deployment, "gallery-api");
        assert!(held(&hub, &absent) && !held(&hub, &live));
        assert!(!is_held(&hub, &absent, Kind::Service, "gallery-api"));
        hub.ready_generations.insert(Part::Redis, 1);
        assert!(held(&hub, &absent));
        hub.ready_generations.extend(Part::DATA.map(|part| (part, 1)));
        assert!(!held(&hub, &absent));
        let away = PartStatus::waiting("NoMaster", "There is no master.", SOON);
        let data = BTreeMap::from([(Part::Redis, away)]);
        let deleted = process(&hub, &absent, &data, Part::Api, &["gallery-api".to_owned()]);
        assert_eq!(deleted.reason, "RollingOut");
    }

    #[test]
    fn a_process_that_mounts_a_missing_secret_names_it() {
        let lack = Lack {
            secret: "flickr-app".to_owned(),
            reason: "CredentialsSecretMissing",
            message: "Create flickr-app.".to_owned(),
            passes: false,
        };
        let withheld = BTreeMap::from([((Kind::Deployment, "gallery-api".to_owned()), lack)]);
        let status = |name: &str| waits_for_secret(&withheld, &[name.to_owned()]);
        assert_eq!(status("gallery-dispatcher"), None);
        let api = status("gallery-api");
        assert!(api.is_some_and(|api| api.stalled && !api.ready && api.message == "Create flickr-app."));
    }

    #[test]
    fn the_api_is_not_ready_without_the_default_client() {
        let missing = PartStatus::waiting("NoClient", "It is not registered yet.", SOON);
        assert_eq!(with_client(well(), missing.clone()), missing);
        assert!(with_client(well(), well()).ready);
    }
}
