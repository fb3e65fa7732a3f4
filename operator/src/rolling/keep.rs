//! What keeps a set from getting smaller at once.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::apply::Live;
use crate::build::{Kind, Object};
use crate::engine::Size;
use crate::validate::ValidatedHub;

/// Lets sets that should have fewer pods keep those that they have: [`super::advance`] takes them away one at a time. A set
/// that should have none at all is let go as a whole. Its volumes do not grow before it has the wanted size.
pub fn keep_members(hub: &ValidatedHub, objects: &mut [Object], live: &Live) {
    // OpenBao is never reduced: pods beyond the wanted ones are none of its members.
    let shrinking = [hub.names.redis(), hub.names.mongodb(), hub.names.rabbitmq()];
    for object in objects {
        let name = object.name();
        let Object::StatefulSet(set) = object else {
            continue;
        };
        let Some(spec) = &mut set.spec else { continue };
        let wanted = spec.replicas.and_then(|replicas| u32::try_from(replicas).ok());
        if let Some(wanted) = wanted.filter(|wanted| *wanted > 0 && shrinking.contains(&name)) {
            let size = Size::of(live, &name, wanted);
            spec.replicas = i32::try_from(size.all()).ok();
            if size.present > size.wanted {
                // A set whose volumes grow is made anew, and would forget that it still has these pods.
                spec.volume_claim_templates = templates(live, &name).or(spec.volume_claim_templates.take());
            }
        }
    }
}

/// The templates of the volumes of a set as it is.
fn templates(live: &Live, set: &str) -> Option<Vec<PersistentVolumeClaim>> {
    let object = live.get(Kind::StatefulSet, set)?;
    let templates = object.pointer("/spec/volumeClaimTemplates")?;
    serde_json::from_value(templates.clone()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::build::build;
    use crate::fixtures;

    /// The replicas of Redis, of which three are wanted, when there are so many.
    fn replicas(live: &Live) -> Option<i32> {
        let hub = fixtures::validated(&fixtures::minimal());
        let mut objects = build(&hub, &fixtures::checksums());
        keep_members(&hub, &mut objects, live);
        objects.iter().find_map(|object| match object {
            Object::StatefulSet(set) if object.name() == "gallery-redis" => set.spec.as_ref()?.replicas,
            _ => None,
        })
    }

    #[test]
    fn volumes_do_not_grow_while_a_set_gets_smaller() {
        let size = |replicas| {
            let claim = json!({"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Mi"}}}});
            let set = json!({"spec": {"replicas": replicas, "volumeClaimTemplates": [claim]}});
            let live = Live::of([(Kind::StatefulSet, "gallery-redis".to_owned(), set)]);
            let hub = fixtures::validated(&fixtures::minimal());
            let mut objects = build(&hub, &fixtures::checksums());
            keep_members(&hub, &mut objects, &live);
            let redis = objects
                .iter()
                .find(|object| object.kind() == Kind::StatefulSet && object.name() == "gallery-redis");
            let path = "/spec/volumeClaimTemplates/0/spec/resources/requests/storage";
            json!(redis).pointer(path).cloned()
        };
        assert_eq!(size(5), Some(json!("1Mi")));
        assert_ne!(size(3), Some(json!("1Mi")));
    }

    #[test]
    fn a_set_keeps_its_pods_until_they_are_taken_away_and_gets_new_ones_at_once() {
        let live = |replicas| {
            let set = json!({"spec": {"replicas": replicas}});
            Live::of([(Kind::StatefulSet, "gallery-redis".to_owned(), set)])
        };
        assert_eq!(replicas(&Live::default()), Some(3));
        assert_eq!(replicas(&live(5)), Some(5));
        assert_eq!(replicas(&live(1)), Some(3));
    }
}
