//! Whether a made-up Secret that does not exist may be made up anew. Pure.
//!
//! An engine keeps the values that it was set up with, so new ones would lock everybody out of data that is still there.
//! They are made up only for an engine that has left no trace of data. Where traces are all that is left (a hub that was
//! deleted, a set-up that never ended), a person has to say that the data is worth nothing, by deleting its volumes.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt;

use crate::names::set_of_claim;

/// Whether the values of a Secret that does not exist are lost: the hub remembers that its engine was ready, or the engine
/// has volumes that stay. Otherwise it was never set up.
pub(super) const fn is_lost(was_ready: bool, has_volumes: bool) -> bool {
    was_ready || has_volumes
}

/// Whether a StatefulSet has volumes that stay. One that is about to go keeps no data for anybody.
pub(super) fn has_volumes(set: &str, claims: &[PersistentVolumeClaim]) -> bool {
    claims.iter().any(|claim| {
        claim.metadata.deletion_timestamp.is_none() && set_of_claim(&claim.name_any()) == Some(set)
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::*;

    fn claim(name: &str, is_leaving: bool) -> PersistentVolumeClaim {
        PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                deletion_timestamp: is_leaving.then_some(Time(Timestamp::UNIX_EPOCH)),
                ..ObjectMeta::default()
            },
            ..PersistentVolumeClaim::default()
        }
    }

    #[test]
    fn only_an_engine_without_any_trace_of_data_gets_new_values() {
        assert!(!is_lost(false, false));
        for (was_ready, has_volumes) in [(true, false), (false, true), (true, true)] {
            assert!(is_lost(was_ready, has_volumes));
        }
    }

    #[test]
    fn volumes_of_another_engine_and_those_that_go_are_no_trace() {
        let volumes = |claims: &[PersistentVolumeClaim]| has_volumes("gallery-mongodb", claims);
        assert!(volumes(&[claim("data-gallery-mongodb-0", false)]));
        assert!(!volumes(&[claim("data-gallery-mongodb-0", true)]));
        assert!(!volumes(&[claim("data-gallery-redis-0", false)]));
        assert!(!volumes(&[]));
    }
}
