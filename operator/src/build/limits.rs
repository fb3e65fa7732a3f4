//! The limits, by the very type that the processes read them with.

use flickrhub_job::budget::BreakerConfig;
use flickrhub_job::limits::{ClassLimits, Limits};

use crate::crd::{BreakerSpec, LimitsSpec};
use crate::validate::ValidatedHub;

/// The content of `limits.yaml`. It must not go into any checksum of what pods mount: processes read it while they run.
pub(super) fn yaml(hub: &ValidatedHub) -> String {
    // A structure of strings and numbers always has a YAML form.
    serde_yaml_ng::to_string(&limits(&hub.limits, &hub.breaker)).unwrap_or_default()
}

/// The limits of the hub. A class without one of its own may use all that the user may.
pub fn limits(spec: &LimitsSpec, breaker: &BreakerSpec) -> Limits {
    let total = spec.per_user_per_hour;
    Limits {
        per_user_per_hour: total,
        classes: ClassLimits {
            read: spec.classes.read.unwrap_or(total),
            write: spec.classes.write.unwrap_or(total),
            upload: spec.classes.upload.unwrap_or(total),
        },
        pending_per_user: spec.pending_per_user,
        buffer_per_queue: spec.buffer_per_queue,
        per_client_per_minute: spec.per_client_per_minute,
        default_expires_in_seconds: spec.default_expires_in_seconds,
        weights: spec
            .weights
            .iter()
            .map(|user| (user.user_id.clone(), user.weight))
            .collect(),
        breaker: BreakerConfig {
            window_seconds: breaker.window_seconds,
            min_requests: breaker.min_requests,
            failure_percent: breaker.failure_percent,
            open_seconds: breaker.open_seconds,
            longest_open_seconds: breaker.longest_open_seconds,
            probe_lease_seconds: breaker.probe_lease_seconds,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn what_a_hub_does_not_name_is_as_the_processes_have_it() {
        let limits = limits(&LimitsSpec::default(), &BreakerSpec::default());
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn another_breaker_is_read_while_processes_run_and_restarts_none() {
        let hub = fixtures::validated(&fixtures::minimal());
        let mut other = hub.clone();
        other.breaker.failure_percent = 20;
        assert!(!yaml(&hub).contains("breaker"), "{}", yaml(&hub));
        assert!(yaml(&other).contains("failurePercent: 20"), "{}", yaml(&other));
        assert_eq!(
            super::super::config::yaml(&hub),
            super::super::config::yaml(&other)
        );
    }
}
