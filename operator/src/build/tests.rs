#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crd::{
    ClassLimitsSpec, DeletionPolicy, FlickrHub, LimitsSpec, ManagedVaultSpec, PullPolicy, QueueSpec,
    StorageSpec, UserWeight, VaultAuthSpec, VaultSpec,
};
use crate::fixtures;

mod restricted;

fn built(hub: &FlickrHub) -> Vec<Object> {
    build(&fixtures::validated(hub), &fixtures::checksums())
}

fn json(object: &Object) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The component of an object, by its label.
fn component(object: &Object) -> String {
    json(object)["metadata"]["labels"]["app.kubernetes.io/component"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The pod template of an object that has one.
fn pod(object: &Object) -> Option<Value> {
    json(object).pointer("/spec/template/spec").cloned()
}

fn containers(object: &Object) -> Vec<Value> {
    pod(object)
        .and_then(|pod| pod["containers"].as_array().cloned())
        .unwrap_or_default()
}

fn snapshot(sample: &str, hub: &FlickrHub) {
    let objects = built(hub);
    let mut components: Vec<String> = objects.iter().map(component).collect();
    components.sort();
    components.dedup();
    for name in components {
        let of_component: Vec<&Object> = objects
            .iter()
            .filter(|object| component(object) == name)
            .collect();
        insta::assert_yaml_snapshot!(format!("{sample}-{name}"), of_component);
    }
}

#[test]
fn the_minimal_sample_is_built_as_before() {
    snapshot("minimal", &fixtures::minimal());
}

#[test]
fn the_full_sample_is_built_as_before() {
    snapshot("full", &fixtures::full());
}

fn assert_hardened(objects: &[Object]) {
    let mut pods = 0;
    for object in objects {
        let name = object.name();
        let Some(pod) = pod(object) else {
            continue;
        };
        assert_eq!(restricted::violations(&pod), [""; 0], "{name}");
        for container in restricted::containers(&pod) {
            let place = format!("{name}/{}", container["name"]);
            for kind in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    let amount = &container["resources"][kind][resource];
                    assert!(amount.is_string(), "{place}: {kind}.{resource}");
                }
            }
        }
        for container in containers(object) {
            assert!(container["readinessProbe"].is_object(), "{name}");
        }
        // OpenBao asks the Kubernetes API about tokens; nobody else has anything to ask it.
        let mounts_token = pod["automountServiceAccountToken"] == true;
        assert_eq!(mounts_token, name.ends_with("-vault"), "{name}");
        pods += 1;
    }
    assert!(pods >= 9, "{pods}");
}

#[test]
fn every_container_is_hardened_and_bounded() {
    assert_hardened(&built(&fixtures::minimal()));
    assert_hardened(&built(&fixtures::full()));
}

#[test]
fn every_object_is_labelled_and_goes_with_its_hub() {
    for object in built(&fixtures::minimal()) {
        let meta = json(&object)["metadata"].clone();
        assert_eq!(
            meta["labels"]["app.kubernetes.io/managed-by"],
            "flickrhub-operator"
        );
        assert_eq!(meta["labels"]["app.kubernetes.io/instance"], "gallery");
        if object.kind().is_namespaced() {
            assert_eq!(meta["ownerReferences"][0]["name"], "gallery");
            assert_eq!(meta["namespace"], "photos");
        } else {
            assert_eq!(meta["annotations"]["flickrhub.dev/hub-namespace"], "photos");
        }
    }
}

#[test]
fn every_workload_has_a_disruption_budget_for_its_pods() {
    let objects = built(&fixtures::minimal());
    let budgets: Vec<Value> = objects
        .iter()
        .filter(|o| o.kind() == Kind::PodDisruptionBudget)
        .map(json)
        .collect();
    for object in objects.iter().filter(|object| pod(object).is_some()) {
        let selector = &json(object)["spec"]["selector"];
        assert!(
            budgets
                .iter()
                .any(|budget| budget["spec"]["selector"] == *selector),
            "{}",
            object.name()
        );
    }
}

#[test]
fn no_two_workloads_select_each_others_pods() {
    let objects = built(&fixtures::minimal());
    let mut selectors: Vec<String> = objects
        .iter()
        .filter(|object| pod(object).is_some())
        .map(|object| json(object)["spec"]["selector"].to_string())
        .collect();
    let count = selectors.len();
    selectors.sort();
    selectors.dedup();
    assert_eq!(selectors.len(), count);
}

#[test]
fn no_value_of_a_secret_gets_into_an_object() {
    for hub in [fixtures::minimal(), fixtures::full()] {
        for object in built(&hub) {
            assert!(
                !json(&object).to_string().contains(fixtures::SECRET_VALUE),
                "{}",
                object.name()
            );
            for container in containers(&object) {
                assert!(
                    !container["env"].to_string().contains("secretKeyRef"),
                    "{}",
                    object.name()
                );
            }
        }
    }
}

/// What the pods of a Deployment are let into: the Secrets that they mount, `token` for one that Vault takes, and their
/// service account.
fn given(object: &Object) -> (Vec<String>, String) {
    let pod = pod(object).unwrap();
    let sources = pod["volumes"].as_array().into_iter().flatten();
    let sources = sources.flat_map(|volume| {
        volume["projected"]["sources"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    let sources = sources.filter(|source| source["configMap"].is_null());
    let names = sources.map(|source| match source["secret"]["name"].as_str() {
        Some(name) => name.to_owned(),
        None => "token".to_owned(),
    });
    let account = pod["serviceAccountName"].as_str().unwrap();
    (names.collect(), account.to_owned())
}

#[test]
fn no_process_is_given_what_its_work_does_not_need() {
    let data = [
        "gallery-redis-auth",
        "gallery-mongodb-auth",
        "gallery-rabbitmq-auth",
    ];
    let [redis, mongodb, rabbitmq] = data;
    // Every process shows a certificate to whoever reads its metrics.
    let metrics = "gallery-metrics-tls";
    let cases = [
        (
            "gallery-api",
            "gallery-api",
            vec![redis, mongodb, "flickr-app", metrics, "token"],
        ),
        (
            "gallery-dispatcher",
            "gallery-dispatcher",
            vec![redis, mongodb, rabbitmq, metrics],
        ),
        (
            "gallery-callbacks",
            "gallery-callbacks",
            vec![mongodb, metrics, "token"],
        ),
        (
            "gallery-worker-rest",
            "gallery-worker",
            vec![redis, mongodb, rabbitmq, "flickr-app", metrics, "token"],
        ),
    ];
    let objects = built(&fixtures::minimal());
    for (name, account, secrets) in cases {
        let deployment = objects
            .iter()
            .find(|object| object.kind() == Kind::Deployment && object.name() == name)
            .unwrap();
        let (given, under) = given(deployment);
        assert_eq!(given, secrets, "{name}");
        assert_eq!(under, account, "{name}");
    }
}

#[test]
fn the_dispatcher_gets_nothing_of_an_external_vault_either() {
    let objects = built(&fixtures::full());
    for object in objects.iter().filter(|object| object.kind() == Kind::Deployment) {
        let (given, _) = given(object);
        let of_vault = given
            .iter()
            .any(|name| name.starts_with("vault-") || name == "token");
        assert_eq!(
            of_vault,
            object.name() != "gallery-dispatcher",
            "{}",
            object.name()
        );
    }
}

#[test]
fn every_pod_runs_under_an_account_that_is_built() {
    for hub in [fixtures::minimal(), fixtures::full()] {
        let objects = built(&hub);
        for object in objects.iter().filter(|object| object.kind() == Kind::Deployment) {
            let (_, account) = given(object);
            let accounts = objects
                .iter()
                .filter(|object| object.kind() == Kind::ServiceAccount && object.name() == account);
            let automounts: Vec<Value> = accounts
                .map(|account| json(account)["automountServiceAccountToken"].clone())
                .collect();
            assert_eq!(automounts, [Value::Bool(false)], "{account}");
        }
    }
}

#[test]
fn a_changed_secret_of_the_user_restarts_the_pods_that_mount_it_and_no_others() {
    let hub = fixtures::minimal();
    let mut changed = fixtures::validated(&hub);
    changed
        .user_secrets
        .insert("flickr-app".to_owned(), "another".to_owned());
    let after = build(&changed, &fixtures::checksums());
    for (before, after) in built(&hub).iter().zip(&after) {
        let calls_flickr = ["gallery-api", "gallery-worker-"]
            .iter()
            .any(|name| before.name().starts_with(name));
        let restarts = before.kind() == Kind::Deployment && calls_flickr;
        assert_eq!(before != after, restarts, "{}", before.name());
    }
}

#[test]
fn changed_limits_restart_no_pod() {
    let before = built(&fixtures::minimal());
    let mut hub = fixtures::minimal();
    hub.spec.limits = LimitsSpec {
        per_user_per_hour: 7,
        classes: ClassLimitsSpec {
            upload: Some(3),
            ..ClassLimitsSpec::default()
        },
        pending_per_user: 7,
        buffer_per_queue: 7,
        per_client_per_minute: 7,
        default_expires_in_seconds: 77,
        weights: vec![UserWeight {
            user_id: "12037949754@N01".to_owned(),
            weight: 7,
        }],
    };
    let after = built(&hub);
    let changed: Vec<_> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(_, after)| (after.kind(), after.name()))
        .collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(changed[0].0, Kind::ConfigMap);
    let config = after.iter().find(|object| object.name() == changed[0].1);
    let text = json(config.unwrap())["data"]["limits.yaml"].clone();
    let limits: flickrhub_job::limits::Limits = serde_yaml_ng::from_str(text.as_str().unwrap()).unwrap();
    assert_eq!(
        (
            limits.per_user_per_hour,
            limits.classes.read,
            limits.classes.upload
        ),
        (7, 7, 3)
    );
    assert_eq!(limits.weight_of("12037949754@N01"), 7);
}

#[test]
fn the_number_of_workers_is_left_to_their_autoscaler() {
    let objects = built(&fixtures::minimal());
    for autoscaler in objects
        .iter()
        .filter(|o| o.kind() == Kind::HorizontalPodAutoscaler)
    {
        let workers = objects
            .iter()
            .find(|o| o.kind() == Kind::Deployment && o.name() == autoscaler.name());
        assert_eq!(
            workers.map(|o| json(o)["spec"]["replicas"].clone()),
            Some(Value::Null)
        );
    }
}

#[test]
fn no_set_takes_its_volumes_with_it() {
    let policy = |deletion_policy| {
        let mut hub = fixtures::minimal();
        hub.spec.deletion_policy = deletion_policy;
        let objects = built(&hub);
        let sets = objects.iter().filter(|object| object.kind() == Kind::StatefulSet);
        sets.map(|o| json(o)["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(policy(DeletionPolicy::Retain), vec!["Retain"; 4]);
    assert_eq!(policy(DeletionPolicy::Delete), vec!["Retain"; 4]);
}

#[test]
fn an_external_vault_needs_no_object_without_namespace() {
    assert!(
        built(&fixtures::full())
            .iter()
            .all(|object| object.kind().is_namespaced())
    );
}

#[test]
fn a_service_account_to_log_in_by_is_made_only_where_it_is_used() {
    let accounts = |hub: &FlickrHub| {
        let name = fixtures::validated(hub).names.vault_login();
        let objects = built(hub);
        let accounts = objects
            .iter()
            .filter(|object| object.kind() == Kind::ServiceAccount);
        accounts.filter(|account| account.name() == name).count()
    };
    let mut hub = fixtures::full();
    assert_eq!(accounts(&hub), 0);
    hub.spec.vault.external.as_mut().unwrap().auth = VaultAuthSpec::default();
    assert_eq!(accounts(&hub), 1);
    assert_eq!(accounts(&fixtures::minimal()), 0);
}

#[test]
fn the_processes_can_read_the_configuration_that_is_written_for_them() {
    for hub in [fixtures::minimal(), fixtures::full()] {
        let hub = fixtures::validated(&hub);
        let read: flickrhub_job::config::Config = serde_yaml_ng::from_str(&config::yaml(&hub)).unwrap();
        assert_eq!(read, config::config(&hub));
    }
}

fn any_storage() -> impl Strategy<Value = StorageSpec> {
    ((1_u32..1000), proptest::option::of("[a-z]{1,10}")).prop_map(|(gibibytes, class_name)| StorageSpec {
        size: crate::crd::Quantity::new(format!("{gibibytes}Gi")),
        class_name,
    })
}

fn any_queue() -> impl Strategy<Value = QueueSpec> {
    (
        1_u32..=256,
        0_u16..100,
        0_u32..100,
        0_u32..100,
        proptest::option::of(1_u32..3600),
    )
        .prop_map(
            |(concurrency, ahead, min_replicas, more, timeout_seconds)| QueueSpec {
                concurrency,
                prefetch: u16::try_from(concurrency).unwrap() + ahead,
                min_replicas,
                max_replicas: (min_replicas + more).max(1),
                timeout_seconds,
                ..QueueSpec::default()
            },
        )
}

prop_compose! {
    fn any_hub()(
        redis in any_storage(), mongodb in any_storage(), rabbitmq in any_storage(), vault in any_storage(),
        members in proptest::collection::vec((0_u32..4).prop_map(|half| half * 2 + 1), 4),
        rest in any_queue(), upload in any_queue(), replace in any_queue(),
        name in "[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
        external in any::<bool>(), deleted in any::<bool>(),
    ) -> FlickrHub {
        let mut hub = if external { fixtures::full() } else { fixtures::minimal() };
        hub.metadata.name = Some(name);
        hub.spec.redis.storage = redis;
        hub.spec.redis.replicas = members[0];
        hub.spec.mongodb.storage = mongodb;
        hub.spec.mongodb.members = members[1];
        hub.spec.rabbitmq.storage = rabbitmq;
        hub.spec.rabbitmq.replicas = members[2];
        if !external {
            let managed = ManagedVaultSpec { replicas: members[3], storage: vault, resources: None };
            hub.spec.vault = VaultSpec { managed: Some(managed), ..VaultSpec::default() };
        }
        hub.spec.queues.rest = rest;
        hub.spec.queues.upload = upload;
        hub.spec.queues.replace = replace;
        hub.spec.images.pull_policy = PullPolicy::Never;
        hub.spec.deletion_policy = if deleted { DeletionPolicy::Delete } else { DeletionPolicy::Retain };
        hub
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_valid_hub_is_built_hardened_and_with_names_that_fit(hub in any_hub()) {
        let objects = built(&hub);
        assert_hardened(&objects);
        for object in &objects {
            prop_assert!(object.name().len() <= 63 || !object.kind().is_namespaced());
        }
        let mut names: Vec<_> = objects.iter().map(|object| (object.kind(), object.name())).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), objects.len());
    }

    #[test]
    fn the_same_hub_is_built_the_same_way(hub in any_hub()) {
        prop_assert_eq!(built(&hub), built(&hub));
    }
}
