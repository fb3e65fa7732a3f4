//! The limits, by the very type that the processes read them with.

use flickrhub_job::limits::{ClassLimits, Limits};

use crate::crd::LimitsSpec;
use crate::validate::ValidatedHub;

/// The content of `limits.yaml`. It must not go into any checksum of what pods mount: processes read it while they run.
pub(super) fn yaml(hub: &ValidatedHub) -> String {
    // A structure of strings and numbers always has a YAML form.
    serde_yaml_ng::to_string(&limits(&hub.limits)).unwrap_or_default()
}

/// The limits of the hub. A class without one of its own may use all that the user may.
pub fn limits(spec: &LimitsSpec) -> Limits {
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
    }
}
