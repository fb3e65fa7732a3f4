//! Secrets that are needed and cannot be used, and what is left as it is meanwhile. Pure.
//!
//! A Secret that is missing holds up only what mounts it: a pod that cannot mount its Secret never starts, and a new
//! template would take the place of pods that still run with what they were given. Everything else is brought on, and the
//! engines are cared for.

use std::collections::BTreeMap;

use crate::build::{Kind, Object};
use crate::engine::LATER;
use crate::part::PartStatus;

/// The reason where values are lost that exist nowhere else.
pub const SECRET_LOST: &str = "SecretLost";

/// A Secret that is needed and cannot be used until somebody has acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The name of the Secret.
    pub secret: String,
    /// One word in `CamelCase`, the reason of conditions.
    pub reason: &'static str,
    /// A sentence that names the Secret and tells what to do.
    pub message: String,
}

impl Lack {
    /// Where a part stands that needs the Secret.
    pub fn status(&self) -> PartStatus {
        PartStatus::stalled(self.reason, self.message.clone(), LATER)
    }
}

/// The workloads that mount a Secret that cannot be used, by kind and name, with the first such Secret of each. The
/// autoscaler of a Deployment waits with it.
pub fn withheld(objects: &[Object], lacks: &[Lack]) -> BTreeMap<(Kind, String), Lack> {
    let lack_of = |object: &Object| {
        let mounted = object.mounted_secrets();
        lacks
            .iter()
            .find(|lack| mounted.contains(lack.secret.as_str()))
            .cloned()
    };
    let mut withheld: BTreeMap<(Kind, String), Lack> = objects
        .iter()
        .filter_map(|object| Some(((object.kind(), object.name()), lack_of(object)?)))
        .collect();
    for autoscaler in objects
        .iter()
        .filter(|object| object.kind() == Kind::HorizontalPodAutoscaler)
    {
        if let Some(lack) = withheld.get(&(Kind::Deployment, autoscaler.name())).cloned() {
            withheld.insert((autoscaler.kind(), autoscaler.name()), lack);
        }
    }
    withheld
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::build;
    use crate::fixtures;

    fn lack(secret: &str) -> Lack {
        Lack {
            secret: secret.to_owned(),
            reason: "Missing",
            message: format!("Create {secret}."),
        }
    }

    fn withheld_without(secret: &str) -> Vec<String> {
        let objects = build(&fixtures::validated(&fixtures::minimal()), &fixtures::checksums());
        let withheld = withheld(&objects, &[lack(secret)]);
        withheld
            .into_keys()
            .map(|(kind, name)| format!("{kind:?} {name}"))
            .collect()
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
