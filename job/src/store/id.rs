//! [`JobId`] as a BSON UUID (binary subtype 4): `#[serde(with = "crate::store::id")]`.
//!
//! Version 7 ids compare in BSON, byte by byte, as they do in memory: by time of acceptance.

use bson::Uuid;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::JobId;

/// The BSON UUID of an id.
pub fn to_bson(id: JobId) -> Uuid {
    Uuid::from_bytes(uuid::Uuid::from(id).into_bytes())
}

/// Writes a BSON UUID.
pub fn serialize<S: Serializer>(id: &JobId, serializer: S) -> Result<S::Ok, S::Error> {
    to_bson(*id).serialize(serializer)
}

/// Reads a BSON UUID.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobId, D::Error> {
    let id = Uuid::deserialize(deserializer)?;
    Ok(JobId::from(uuid::Uuid::from_bytes(id.bytes())))
}

/// The same for an id that may be missing: null.
pub mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{JobId, Uuid, to_bson};

    /// Writes a BSON UUID or null.
    pub fn serialize<S: Serializer>(id: &Option<JobId>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(to_bson).serialize(serializer)
    }

    /// Reads a BSON UUID or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JobId>, D::Error> {
        let id = Option::<Uuid>::deserialize(deserializer)?;
        Ok(id.map(|id| JobId::from(uuid::Uuid::from_bytes(id.bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_bson_uuid_with_the_same_bytes() {
        let id = JobId::new();
        assert_eq!(to_bson(id).to_string(), id.to_string());
    }
}
