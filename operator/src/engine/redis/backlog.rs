//! The backlogs of the queues, asked of the master, or of a replica while no master answers.

use std::collections::BTreeMap;

use flickrhub_job::connection::trust::Trust;
use flickrhub_job::lane::{Backlog, backlog};
use flickrhub_job::queue::Queue;
use futures::future::join_all;
use redis::{RedisError, Value};
use secrecy::SecretString;
use tokio::time::timeout;

use super::servers::connect_as;
use crate::engine::OBSERVE_TIMEOUT;
use crate::names::REDIS_KEY_PREFIX;

/// Redis does not tell the backlogs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// No member answered that can know.
    #[error("no Redis answers that is master or follows one")]
    NoAnswer,
    /// Which of two masters is right is for the Sentinels to say.
    #[error("{0} Redis servers are master at the same time")]
    SeveralMasters(usize),
    /// The lanes are lost, and the dispatcher has yet to build them anew.
    #[error("the lanes in Redis have yet to be built by the dispatcher")]
    NotBuilt,
}

/// What one member says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    is_master: bool,
    /// `None` where the lanes are not built.
    backlogs: Option<BTreeMap<Queue, Backlog>>,
}

/// The backlogs of the queues of a hub whose Redis servers are at these addresses (`host:port`), known by these
/// authorities.
///
/// # Errors
/// When none of them tells.
pub(crate) async fn look_at_backlogs(
    servers: &[String],
    password: &SecretString,
    trust: &Trust,
) -> Result<BTreeMap<Queue, Backlog>, LookError> {
    let asked = servers.iter().map(|address| async {
        // Why a member does not answer is told by the condition of Redis.
        let look = timeout(OBSERVE_TIMEOUT, ask(address, password, trust)).await;
        look.ok()?.ok().flatten()
    });
    let told: Vec<Told> = join_all(asked).await.into_iter().flatten().collect();
    choose(told)
}

/// Whom to believe. A replica that is linked to a master is late by milliseconds; one that is not may be late by anything,
/// and is not asked at all.
fn choose(told: Vec<Told>) -> Result<BTreeMap<Queue, Backlog>, LookError> {
    let masters = told.iter().filter(|told| told.is_master).count();
    if masters > 1 {
        return Err(LookError::SeveralMasters(masters));
    }
    let best = told.into_iter().max_by_key(|told| told.is_master);
    best.ok_or(LookError::NoAnswer)?
        .backlogs
        .ok_or(LookError::NotBuilt)
}

async fn ask(address: &str, password: &SecretString, trust: &Trust) -> Result<Option<Told>, RedisError> {
    let mut connection = connect_as(address, password, Some(trust)).await?;
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    let Some(is_master) = knows(&role) else {
        return Ok(None);
    };
    let mut backlogs = BTreeMap::new();
    for queue in Queue::ALL {
        match backlog(&mut connection, REDIS_KEY_PREFIX, queue).await? {
            Some(found) => backlogs.insert(queue, found),
            None => {
                return Ok(Some(Told {
                    is_master,
                    backlogs: None,
                }));
            }
        };
    }
    Ok(Some(Told {
        is_master,
        backlogs: Some(backlogs),
    }))
}

/// Reads the answer of `ROLE`: whether a member is master, and `None` if it is a replica without a link to one.
fn knows(role: &[Value]) -> Option<bool> {
    let text = |index: usize| {
        role.get(index)
            .and_then(|value| redis::from_redis_value_ref::<String>(value).ok())
    };
    match text(0)?.as_str() {
        "master" => Some(true),
        // ["slave", host, port, state of the link, offset]
        "slave" => (text(3)? == "connected").then_some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_master: bool, inflight: u64) -> Told {
        let backlog = Backlog {
            inflight,
            ..Backlog::default()
        };
        Told {
            is_master,
            backlogs: Some(BTreeMap::from([(Queue::Rest, backlog)])),
        }
    }

    fn inflight(told: Vec<Told>) -> Result<u64, LookError> {
        Ok(choose(told)?[&Queue::Rest].inflight)
    }

    #[test]
    fn the_master_is_believed_before_its_replicas() {
        assert_eq!(
            inflight(vec![told(false, 1), told(true, 2), told(false, 3)]),
            Ok(2)
        );
        assert!(inflight(vec![told(false, 1)]).is_ok());
        assert_eq!(inflight(Vec::new()), Err(LookError::NoAnswer));
    }

    #[test]
    fn nobody_is_believed_while_two_are_masters_or_the_lanes_are_lost() {
        assert_eq!(
            inflight(vec![told(true, 1), told(true, 2)]),
            Err(LookError::SeveralMasters(2))
        );
        let lost = Told {
            is_master: true,
            backlogs: None,
        };
        assert_eq!(inflight(vec![lost, told(false, 3)]), Err(LookError::NotBuilt));
    }

    #[test]
    fn a_replica_without_a_link_knows_nothing() {
        let role = |words: &[&str]| -> Vec<Value> {
            words
                .iter()
                .map(|word| Value::BulkString(word.as_bytes().to_vec()))
                .collect()
        };
        assert_eq!(knows(&role(&["master"])), Some(true));
        assert_eq!(knows(&role(&["slave", "host", "6379", "connected"])), Some(false));
        assert_eq!(knows(&role(&["slave", "host", "6379", "connect"])), None);
        assert_eq!(knows(&role(&["sentinel"])), None);
    }
}
