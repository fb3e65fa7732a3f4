//! Secrets that are needed and cannot be used, and what is left as it is meanwhile. Pure.
//!
//! A Secret that is missing holds up only what mounts it: a pod that cannot mount its Secret never starts, and a new
//! template would take the place of pods that still run with what they were given. Everything else is brought on, and the
//! engines are cared for.
//!
//! All processes read their settings from one ConfigMap. While pods go on with an older template, it is not changed under
//! them: one that restarts would read of files that it does not mount. Then no process gets the new settings.

use std::collections::BTreeMap;

use serde_json::json;

use crate::apply::Live;
use crate::build::{Kind, Object};
use crate::engine::LATER;
use crate::part::PartStatus;

/// The reason where values are lost that exist nowhere else.
pub const SECRET_LOST: &str = "SecretLost";

/// A Secret that is needed and cannot be used yet: most often until somebody has acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The name of the Secret.
    pub secret: String,
    /// One word in `CamelCase`, the reason of conditions.
    pub reason: &'static str,
    /// A sentence that names the Secret and tells what to do.
    pub message: String,
    /// Whether it passes without anybody's doing.
    pub passes: bool,
}

impl Lack {
    /// Where a part stands that needs the Secret.
    pub fn status(&self) -> PartStatus {
        if self.passes {
            return PartStatus::waiting(self.reason, self.message.clone(), LATER);
        }
        PartStatus::stalled(self.reason, self.message.clone(), LATER)
    }

    /// The same for what only shares its settings with what needs the Secret.
    fn of_settings(&self) -> Self {
        Self {
            message: format!(
                "New settings, which all processes share, wait for Secret {:?}.",
                self.secret
            ),
            ..self.clone()
        }
    }
}

/// What is left as it is, by kind and name, each with the reason.
pub type Withheld = BTreeMap<(Kind, String), Lack>;

/// The workloads that mount a Secret that cannot be used, with the first such Secret of each, and what waits with them:
/// their autoscalers, and the settings of all processes (the ConfigMap `config`) if they would change under their pods.
pub fn withheld(objects: &[Object], lacks: &[Lack], config: &str, live: &Live) -> Withheld {
    let lack_of = |object: &Object| {
        let mounted = object.mounted_secrets();
        lacks
            .iter()
            .find(|lack| mounted.contains(lack.secret.as_str()))
            .cloned()
    };
    let mut withheld: Withheld = objects
        .iter()
        .filter_map(|object| Some(((object.kind(), object.name()), lack_of(object)?)))
        .collect();
    if let Some(lack) = settings_wait_for(&withheld, live).filter(|_| settings_change(objects, config, live))
    {
        let sharing = objects
            .iter()
            .filter(|object| object.kind() == Kind::Deployment)
            .map(|object| (object.kind(), object.name()))
            .chain([(Kind::ConfigMap, config.to_owned())]);
        for object in sharing {
            withheld.entry(object).or_insert_with(|| lack.clone());
        }
    }
    for autoscaler in objects.iter().filter(|object| object.kind().is_autoscaler()) {
        if let Some(lack) = withheld.get(&(Kind::Deployment, autoscaler.name())).cloned() {
            withheld.insert((autoscaler.kind(), autoscaler.name()), lack);
        }
    }
    withheld
}

/// What the settings of the processes wait for: that a process which runs gets its Secret.
fn settings_wait_for(withheld: &Withheld, live: &Live) -> Option<Lack> {
    let mut running = withheld
        .iter()
        .filter(|((kind, name), _)| *kind == Kind::Deployment && live.get(*kind, name).is_some());
    running.next().map(|(_, lack)| lack.of_settings())
}

/// Whether a live ConfigMap is about to change.
fn settings_change(objects: &[Object], config: &str, live: &Live) -> bool {
    let wanted = objects.iter().find_map(|object| match object {
        Object::ConfigMap(map) if object.name() == config => map.data.as_ref(),
        _ => None,
    });
    live.get(Kind::ConfigMap, config)
        .is_some_and(|current| current["data"] != json!(wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::build::build;
    use crate::fixtures;

    fn lack(secret: &str) -> Lack {
        Lack {
            secret: secret.to_owned(),
            reason: "Missing",
            message: format!("Create {secret}."),
            passes: false,
        }
    }

    fn objects() -> Vec<Object> {
        build(&fixtures::validated(&fixtures::minimal()), &fixtures::checksums())
    }

    fn withheld_without(secret: &str) -> Vec<String> {
        names(withheld(
            &objects(),
            &[lack(secret)],
            "gallery-config",
            &Live::default(),
        ))
    }

    fn names(withheld: Withheld) -> Vec<String> {
        withheld
            .into_keys()
            .map(|(kind, name)| format!("{kind:?} {name}"))
            .collect()
    }

    /// What is built, as it is live with other settings, but for objects of these names.
    fn with_other_settings(absent: &[&str]) -> Live {
        let objects = objects();
        let live = objects
            .iter()
            .filter(|object| !absent.contains(&object.name().as_str()))
            .map(|object| match (object.kind(), object.name()) {
                (kind @ Kind::ConfigMap, name) if name == "gallery-config" => {
                    (kind, name, json!({"data": {"config.yaml": "old"}}))
                }
                (kind, name) => (kind, name, json!(object)),
            });
        Live::of(live)
    }

    #[test]
    fn settings_do_not_change_under_pods_that_go_on_with_an_old_template() {
        let live = with_other_settings(&[]);
        let withheld = withheld(&objects(), &[lack("flickr-app")], "gallery-config", &live);
        let message = |kind, name: &str| {
            withheld
                .get(&(kind, name.to_owned()))
                .map(|lack| lack.message.as_str())
        };
        assert_eq!(
            message(Kind::Deployment, "gallery-api"),
            Some("Create flickr-app.")
        );
        for (kind, name) in [
            (Kind::ConfigMap, "gallery-config"),
            (Kind::Deployment, "gallery-dispatcher"),
            (Kind::Deployment, "gallery-callbacks"),
        ] {
            assert_eq!(
                message(kind, name),
                Some("New settings, which all processes share, wait for Secret \"flickr-app\"."),
                "{name}"
            );
        }
        assert!(
            names(withheld)
                .iter()
                .all(|name| !name.starts_with("StatefulSet"))
        );
    }

    #[test]
    fn settings_change_where_no_pod_reads_them_without_its_secret() {
        let needs_it = [
            "gallery-api",
            "gallery-worker-rest",
            "gallery-worker-upload",
            "gallery-worker-replace",
        ];
        let unchanged = Live::of(
            objects()
                .iter()
                .map(|object| (object.kind(), object.name(), json!(object)))
                .collect::<Vec<(Kind, String, Value)>>(),
        );
        for live in [
            with_other_settings(&needs_it),
            with_other_settings(&["gallery-config"]),
            unchanged,
        ] {
            let withheld = withheld(&objects(), &[lack("flickr-app")], "gallery-config", &live);
            assert_eq!(names(withheld), withheld_without("flickr-app"));
        }
    }

    #[test]
    fn without_the_credentials_of_flickr_only_what_calls_flickr_waits() {
        assert_eq!(
            withheld_without("flickr-app"),
            [
                "Deployment gallery-api",
                "Deployment gallery-worker-replace",
                "Deployment gallery-worker-rest",
                "Deployment gallery-worker-upload",
                "HorizontalPodAutoscaler gallery-worker-replace",
                "HorizontalPodAutoscaler gallery-worker-rest",
                "HorizontalPodAutoscaler gallery-worker-upload",
            ]
        );
    }

    #[test]
    fn without_the_password_of_an_engine_the_other_engines_go_on() {
        let withheld = withheld_without("gallery-rabbitmq-auth");
        assert!(withheld.contains(&"StatefulSet gallery-rabbitmq".to_owned()));
        assert!(withheld.contains(&"Deployment gallery-dispatcher".to_owned()));
        for goes_on in [
            "StatefulSet gallery-redis",
            "StatefulSet gallery-vault",
            "Deployment gallery-api",
            "Deployment gallery-callbacks",
        ] {
            assert!(!withheld.contains(&goes_on.to_owned()), "{goes_on}");
        }
    }

    #[test]
    fn nothing_waits_while_nothing_is_missing() {
        assert_eq!(withheld_without("unknown"), Vec::<String>::new());
    }
}
