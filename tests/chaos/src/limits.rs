//! The limits of a run: so small that they are reached while parts of the hub fail.
//!
//! The windows of users and the budgets of their tokens are full for the busiest clients; the budget of the application is
//! spent before the end for most of them. It is raised when the clients are done, so that the jobs that wait for it come to
//! their end in minutes and not in an hour. A user's jobs wait until a request of the user is an hour old, whatever the
//! limit is by then: clients cancel these.

use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_e2e::eventually;
use flickrhub_e2e::processes::is_ready;
use flickrhub_e2e::scene::Scene;
use flickrhub_job::limits::{LIMITS_FILE, RequestClass};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::client::now_ms;
use crate::history::Limits;

/// How long the hub may take to keep to other limits.
const PATIENCE: Duration = Duration::from_mins(5);

/// What a request takes beside the pause of a client, roughly: with it the orders of a run are estimated.
const REQUEST: Duration = Duration::from_millis(1500);

/// Requests to Flickr of one client before the run: three steps of signing in, one photo and questions about its ticket.
const FIRST_REQUESTS: u64 = 8;

/// More than any run needs, and not more than the resource takes.
const LIFTED: u64 = 1_000_000;

/// How much is allowed in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Requests with one user's token, and jobs of one user.
    pub per_user: u64,
    /// Jobs of one user that write, and as many that upload; those that read are limited with all others only.
    pub per_class: u64,
    /// Requests with the key of the application, beside those that count already.
    pub per_app: u64,
}

impl Plan {
    /// For so many clients that submit for so long, with pauses of at most so long.
    pub fn for_run(length: Duration, pause: Duration, clients: u32) -> Self {
        let of_one = (pause / 2 + REQUEST).as_millis().max(1);
        let orders = u64::try_from(length.as_millis() / of_one).unwrap_or(u64::MAX);
        let orders = orders.clamp(8, LIFTED / 100);
        Self {
            per_user: orders * 3 / 4,
            per_class: (orders / 8).max(2),
            per_app: u64::from(clients) * (FIRST_REQUESTS + orders / 2),
        }
    }
}

/// Has the hub keep to small limits from now on; answers them as the processes have them. The resource is put back at the end
/// of the scene.
pub async fn tighten(scene: &Scene, plan: Plan) -> Limits {
    let used = budget(scene, "used").await;
    let per_app = (used + plan.per_app).min(LIFTED);
    let limits = json!({
        "perUserPerHour": plan.per_user,
        "classes": {"read": null, "write": plan.per_class, "upload": plan.per_class},
    });
    change(scene, per_app, json!({"limits": limits}), &["api", "dispatcher"]).await;
    println!("limits: {plan:?}, beside {used} requests that count already");
    in_force(scene).await
}

/// Allows the application more than the rest of the run needs. `limits`, which were in force until now, are marked as such;
/// answers those that follow.
pub async fn lift(scene: &Scene, limits: &mut Limits) -> Limits {
    limits.until_ms = now_ms();
    change(scene, LIFTED, json!({}), &["dispatcher"]).await;
    Limits {
        from_ms: limits.until_ms,
        ..in_force(scene).await
    }
}

/// Waits until the components keep to the change, which have other limits when they begin.
async fn change(scene: &Scene, per_app: u64, mut change: Value, components: &[&str]) {
    let hubs = cluster::hubs(&scene.client, &cluster::namespace());
    let hub = hubs.get(&cluster::hub()).await.expect("the hub");
    let mut apps = hub.data["spec"]["flickr"]["apps"].clone();
    apps[0]["requestsPerHour"] = per_app.into();
    change["flickr"] = json!({"apps": apps});
    scene.change_hub(&change).await;
    cluster::ready(&hubs, &cluster::hub(), PATIENCE).await;
    // Processes that run would see other limits when the kubelet brings them the file, within a minute or two.
    for component in components {
        replace(scene, component).await;
    }
    cluster::ready(&hubs, &cluster::hub(), PATIENCE).await;
    eventually("no pod is on its way out", PATIENCE, || async {
        let of_the_hub = format!("app.kubernetes.io/instance={}", cluster::hub());
        let pods = pods(scene).list(&ListParams::default().labels(&of_the_hub)).await;
        let mut pods = pods.ok()?.into_iter();
        pods.all(|pod| !is_going(&pod)).then_some(())
    })
    .await;
    eventually("the budget is in force", PATIENCE, || async {
        (budget(scene, "limit").await == per_app).then_some(())
    })
    .await;
}

fn pods(scene: &Scene) -> Api<Pod> {
    Api::namespaced(scene.client.clone(), &cluster::namespace())
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Replaces the pods of a component, and waits for those that follow.
async fn replace(scene: &Scene, component: &str) {
    let pods = pods(scene);
    let labels = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component={component}",
        cluster::hub()
    );
    let these = ListParams::default().labels(&labels);
    let before = pods.list(&these).await.expect("the pods");
    // Of the rollout that the change began some may still be on their way out: nobody follows these.
    let wanted = before.iter().filter(|pod| !is_going(pod)).count();
    let before: Vec<_> = before.iter().filter_map(ResourceExt::uid).collect();
    pods.delete_collection(&DeleteParams::default(), &these)
        .await
        .expect("the pods go");
    eventually("pods are replaced", PATIENCE, || async {
        let now = pods.list(&these).await.ok()?;
        let ready = now.iter().filter(|pod| is_ready(pod)).count();
        let is_old = |pod: &Pod| pod.uid().is_some_and(|uid| before.contains(&uid));
        (ready >= wanted && !now.iter().any(is_old)).then_some(())
    })
    .await;
}

/// Whether the budget of the user's token is spent, as the API tells it; no when it does not.
pub async fn is_spent(scene: &Scene, user: &str) -> bool {
    let request = scene.gateway.get(&format!("/api/v1/usage?user_id={user}"));
    let Ok(answer) = request.send().await else {
        return false;
    };
    let usage: Value = answer.json().await.unwrap_or_default();
    let budget = &usage["user"]["budget"];
    let (used, limit) = (budget["used"].as_u64(), budget["limit"].as_u64());
    used.zip(limit).is_some_and(|(used, limit)| used >= limit)
}

/// A number of the budget of the first application, as the API tells it; asked for until it is told.
async fn budget(scene: &Scene, number: &str) -> u64 {
    eventually("the API tells the budget", PATIENCE, || async {
        let answer = scene.gateway.get("/api/v1/usage").send().await.ok()?;
        let usage: Value = answer.json().await.ok()?;
        usage["apps"][0]["budget"][number].as_u64()
    })
    .await
}

/// The limits that the processes of the hub have, from now on.
async fn in_force(scene: &Scene) -> Limits {
    let configs: Api<ConfigMap> = Api::namespaced(scene.client.clone(), &cluster::namespace());
    let files = configs
        .get(&format!("{}-config", cluster::hub()))
        .await
        .expect("the configuration of the hub")
        .data
        .unwrap_or_default();
    let number = |file: &str, pointer: &str| {
        let yaml: Value = serde_yaml_ng::from_str(&files[file]).expect("YAML");
        let number = yaml.pointer(pointer).and_then(Value::as_u64);
        let number = number.unwrap_or_else(|| panic!("{file} has no number {pointer}"));
        usize::try_from(number).unwrap_or(usize::MAX)
    };
    Limits {
        from_ms: now_ms(),
        until_ms: i64::MAX,
        per_app: number("config.yaml", "/flickr/apps/0/requestsPerHour"),
        per_user: number(LIMITS_FILE, "/perUserPerHour"),
        per_class: RequestClass::ALL.map(|class| number(LIMITS_FILE, &format!("/classes/{}", class.name()))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_limits_of_a_minute_are_reached_in_it() {
        let plan = Plan::for_run(Duration::from_mins(1), Duration::from_secs(2), 12);
        let expected = Plan {
            per_user: 18,
            per_class: 3,
            per_app: 240,
        };
        assert_eq!(plan, expected);
    }

    proptest! {
        /// What the resource takes, and so much that everybody can begin.
        #[test]
        fn limits_are_valid(seconds in 0..100_000_u64, pause_ms in 0..60_000_u64, clients in 1..200_u32) {
            let plan = Plan::for_run(Duration::from_secs(seconds), Duration::from_millis(pause_ms), clients);
            prop_assert!(plan.per_class >= 2 && plan.per_class <= plan.per_user && plan.per_user <= LIFTED);
            prop_assert!(plan.per_app >= u64::from(clients) * FIRST_REQUESTS);
        }
    }
}
