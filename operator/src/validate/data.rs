//! `spec.redis`, `spec.mongodb` and `spec.rabbitmq`.

use super::error::MAX_MEMBERS;
use super::resources::Defaults;
use super::{ContainerResources, ValidationError};
use crate::crd::{MongoDbSpec, Quantity, RabbitMqSpec, RedisSpec, StorageSpec};

/// The volume of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoragePlan {
    /// Its size.
    pub size: Quantity,
    /// Its class; the cluster's default if `None`.
    pub class_name: Option<String>,
}

/// Redis with Sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisPlan {
    /// Pods.
    pub replicas: u32,
    /// Their volumes.
    pub storage: StoragePlan,
    /// CPU and memory of one Redis.
    pub resources: ContainerResources,
}

/// The MongoDB replica set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoDbPlan {
    /// Voting members.
    pub members: u32,
    /// Their volumes.
    pub storage: StoragePlan,
    /// CPU and memory of one member.
    pub resources: ContainerResources,
    /// Size of the storage engine's cache in MiB.
    pub cache_mib: u64,
    /// Days after which a finished job is deleted.
    pub retention_days: u32,
}

/// The RabbitMQ cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RabbitMqPlan {
    /// Nodes.
    pub replicas: u32,
    /// Their volumes.
    pub storage: StoragePlan,
    /// CPU and memory of one node.
    pub resources: ContainerResources,
    /// Bytes of memory past which publishers are held back.
    pub memory_watermark: u64,
}

const MIB: u64 = 1 << 20;

pub(super) fn storage(spec: &StorageSpec, field: &str) -> Result<StoragePlan, ValidationError> {
    spec.size.units().map_err(|source| ValidationError::Quantity {
        field: format!("{field}.storage.size"),
        source,
    })?;
    Ok(StoragePlan {
        size: spec.size.clone(),
        class_name: spec.class_name.clone(),
    })
}

/// Refuses a memory limit with which the engine would be killed at its start.
pub(super) fn at_least(
    resources: ContainerResources,
    mib: u64,
    minimum: &'static str,
    field: &str,
) -> Result<ContainerResources, ValidationError> {
    if resources.memory_limit_bytes < mib * MIB {
        return Err(ValidationError::TooLittleMemory {
            field: field.to_owned(),
            limit: resources.memory_limit.to_string(),
            minimum,
        });
    }
    Ok(resources)
}

/// Refuses a number of members that the definition does not allow: a resource that an older one let pass could otherwise
/// make the operator list more members than it has memory for.
pub(super) fn members(count: u32, field: &'static str) -> Result<u32, ValidationError> {
    if (1..=MAX_MEMBERS).contains(&count) {
        Ok(count)
    } else {
        Err(ValidationError::Members { field, count })
    }
}

pub(super) fn redis(spec: &RedisSpec) -> Result<RedisPlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("50m", "1"),
        memory: ("128Mi", "512Mi"),
    };
    let field = "redis.resources";
    let resources = at_least(DEFAULTS.with(spec.resources.as_ref(), field)?, 64, "64Mi", field)?;
    Ok(RedisPlan {
        replicas: members(spec.replicas, "redis.replicas")?,
        storage: storage(&spec.storage, "redis")?,
        resources,
    })
}

pub(super) fn mongodb(spec: &MongoDbSpec) -> Result<MongoDbPlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("100m", "2"),
        memory: ("384Mi", "1Gi"),
    };
    let field = "mongodb.resources";
    let resources = at_least(
        DEFAULTS.with(spec.resources.as_ref(), field)?,
        512,
        "512Mi",
        field,
    )?;
    Ok(MongoDbPlan {
        members: members(spec.members, "mongodb.members")?,
        storage: storage(&spec.storage, "mongodb")?,
        cache_mib: resources.memory_limit_bytes / 2 / MIB,
        resources,
        retention_days: spec.retention_days,
    })
}

pub(super) fn rabbitmq(spec: &RabbitMqSpec) -> Result<RabbitMqPlan, ValidationError> {
    const DEFAULTS: Defaults = Defaults {
        cpu: ("100m", "2"),
        memory: ("384Mi", "1Gi"),
    };
    let field = "rabbitmq.resources";
    let resources = at_least(
        DEFAULTS.with(spec.resources.as_ref(), field)?,
        512,
        "512Mi",
        field,
    )?;
    Ok(RabbitMqPlan {
        replicas: members(spec.replicas, "rabbitmq.replicas")?,
        storage: storage(&spec.storage, "rabbitmq")?,
        memory_watermark: resources.memory_limit_bytes / 5 * 3,
        resources,
    })
}
