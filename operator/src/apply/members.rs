//! What keeps a set from getting smaller at once: [`crate::rolling`] takes its pods away one at a time.
//!
//! It is decided by the live object when a set is applied, not when it is built. So a set that waits for long until it may
//! get smaller is known by what was built of it, and need not be read at each look.

use serde_json::{Value, json};

use crate::validate::ValidatedHub;

const REPLICAS: &str = "/spec/replicas";
const TEMPLATES: &str = "/spec/volumeClaimTemplates";

/// Lets a set that should have fewer pods keep those that it has. A set that should have none at all is let go as a whole.
/// Its volumes do not grow before it has the wanted size.
pub(super) fn keep(hub: &ValidatedHub, name: &str, desired: &mut Value, live: &Value) {
    // OpenBao is never reduced: pods beyond the wanted ones are none of its members.
    let shrinking = [hub.names.redis(), hub.names.mongodb(), hub.names.rabbitmq()];
    let replicas = |object: &Value| {
        object
            .pointer(REPLICAS)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let (wanted, present) = (replicas(desired), replicas(live));
    if wanted == 0 || present <= wanted || !shrinking.iter().any(|set| set == name) {
        return;
    }
    if let Some(replicas) = desired.pointer_mut(REPLICAS) {
        *replicas = json!(present);
    }
    // A set whose volumes grow is made anew, and would forget that it still has these pods.
    if let (Some(templates), Some(live)) = (desired.pointer_mut(TEMPLATES), live.pointer(TEMPLATES)) {
        *templates = live.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn set(replicas: u64, size: &str) -> Value {
        let claim =
            json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}});
        json!({"spec": {"replicas": replicas, "volumeClaimTemplates": [claim]}})
    }

    /// A set of this name that should have three pods and larger volumes, and has so many.
    fn kept(name: &str, present: u64) -> Value {
        let hub = fixtures::validated(&fixtures::minimal());
        let mut desired = set(3, "2Gi");
        keep(&hub, name, &mut desired, &set(present, "1Gi"));
        desired
    }

    #[test]
    fn a_set_keeps_its_pods_until_they_are_taken_away_and_gets_new_ones_at_once() {
        assert_eq!(kept("gallery-redis", 5), set(5, "1Gi"));
        assert_eq!(kept("gallery-redis", 3), set(3, "2Gi"));
        assert_eq!(kept("gallery-redis", 1), set(3, "2Gi"));
    }

    #[test]
    fn a_set_that_is_to_sleep_or_cannot_get_smaller_is_as_built() {
        let hub = fixtures::validated(&fixtures::minimal());
        let mut asleep = set(0, "1Gi");
        keep(&hub, "gallery-redis", &mut asleep, &set(3, "1Gi"));
        assert_eq!(asleep, set(0, "1Gi"));
        assert_eq!(kept("gallery-vault", 5), set(3, "2Gi"));
    }
}
