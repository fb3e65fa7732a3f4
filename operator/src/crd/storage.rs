//! The volume of one member of a data engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Quantity, rules};

/// The volume of one member.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("quantity(string(self.size)).compareTo(quantity('64Mi')) >= 0", "size must be at least 64Mi"),
    ("has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)", "className cannot be changed, because volumes cannot move to another class; create another FlickrHub instead"),
])))]
pub struct StorageSpec {
    /// The size of the volume, for example `8Gi`. Can grow where the storage class allows expansion. A size below that of the
    /// volumes is refused with the reason `VolumeCannotShrink`; one that could not be reached can be set back.
    pub size: Quantity,
    /// The storage class; the cluster's default without it. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
}

impl StorageSpec {
    /// A volume of the cluster's default class.
    pub(crate) fn of_size(size: &str) -> Self {
        Self {
            size: Quantity::new(size),
            class_name: None,
        }
    }
}
