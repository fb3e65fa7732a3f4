//! The hubs that are scaled, as their last reconciliations left them. Every change of a Deployment triggers a reconciliation,
//! so what stands here is as new as the watches are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use flickrhub_job::config::Login;
use flickrhub_job::queue::Queue;

use crate::validate::ValidatedHub;

/// The namespace and the name of a hub.
pub type HubKey = (String, String);

/// A hub whose workers are scaled.
#[derive(Clone)]
pub struct ScaledHub {
    /// What it is to be.
    pub hub: Arc<ValidatedHub>,
    /// The workers that the Deployment of each queue is to have now; queues without one are left out.
    pub replicas: BTreeMap<Queue, u32>,
    /// Its processes in MongoDB.
    pub mongodb: Login,
}

impl ScaledHub {
    /// Whether there may be something to do that no autoscaler does: a queue that may have no worker, or one that has more
    /// workers than it needs at least, of which some may go.
    pub fn concerns_us(&self) -> bool {
        self.hub.queues.iter().any(|(queue, plan)| {
            let replicas = self.replicas.get(queue);
            replicas.is_some_and(|replicas| plan.min_replicas == 0 || *replicas > plan.min_replicas)
        })
    }
}

/// The hubs that are scaled.
#[derive(Default)]
pub struct ScaledHubs {
    hubs: Mutex<BTreeMap<HubKey, ScaledHub>>,
}

impl ScaledHubs {
    /// Takes note of a hub.
    pub fn insert(&self, hub: ScaledHub) {
        let key = (
            hub.hub.names.namespace().to_owned(),
            hub.hub.names.hub().to_owned(),
        );
        self.hubs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, hub);
    }

    /// Forgets a hub: it is gone, paused, or cannot be understood.
    pub fn remove(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.hubs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&key);
    }

    /// The hubs of which there may be something to do.
    pub fn of_concern(&self) -> BTreeMap<HubKey, ScaledHub> {
        let hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.iter()
            .filter(|(_, hub)| hub.concerns_us())
            .map(|(key, hub)| (key.clone(), hub.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::fixtures;

    fn scaled(least: u32, replicas: Option<u32>) -> ScaledHub {
        let mut hub = fixtures::validated(&fixtures::minimal());
        for plan in hub.queues.values_mut() {
            plan.min_replicas = least;
        }
        ScaledHub {
            hub: Arc::new(hub),
            replicas: replicas
                .into_iter()
                .map(|replicas| (Queue::Rest, replicas))
                .collect(),
            mongodb: Login {
                username: "flickrhub".to_owned(),
                password: SecretString::from("password"),
            },
        }
    }

    #[test]
    fn a_hub_at_its_least_workers_is_left_alone_unless_that_is_none() {
        assert!(!scaled(2, Some(2)).concerns_us());
        assert!(scaled(2, Some(3)).concerns_us());
        assert!(scaled(0, Some(0)).concerns_us());
        assert!(scaled(0, Some(1)).concerns_us());
        assert!(!scaled(0, None).concerns_us());
    }

    #[test]
    fn a_hub_that_is_gone_is_forgotten() {
        let hubs = ScaledHubs::default();
        hubs.insert(scaled(0, Some(1)));
        assert_eq!(hubs.of_concern().len(), 1);
        hubs.remove("photos", "gallery");
        assert!(hubs.of_concern().is_empty());
    }
}
