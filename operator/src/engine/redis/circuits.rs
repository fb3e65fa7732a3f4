//! Whether the hub leaves Flickr alone at the moment: the circuit breakers that its workers share in Redis.

use jiff::Timestamp;
use redis::RedisError;

use super::Desired;
use super::servers::connect;
use crate::engine::OBSERVE_TIMEOUT;
use crate::names::REDIS_KEY_PREFIX;

/// The hosts of Flickr that have a circuit of their own.
const ENDPOINTS: [&str; 2] = ["rest", "upload"];

/// A circuit that is not closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCircuit {
    /// The Flickr application.
    pub app: String,
    /// `rest` or `upload`.
    pub endpoint: &'static str,
    /// When Flickr is, or was, tried again.
    pub until: Timestamp,
}

/// The circuits of `apps` that are not closed, as the first member knows them that answers: a replica is late by
/// milliseconds, which does not matter here. `None` if none answers.
pub(crate) async fn open_circuits(desired: &Desired, apps: &[&str]) -> Option<Vec<OpenCircuit>> {
    for address in &desired.servers {
        let look = look(address, desired, apps);
        if let Ok(Ok(open)) = tokio::time::timeout(OBSERVE_TIMEOUT, look).await {
            return Some(open);
        }
    }
    None
}

async fn look(address: &str, desired: &Desired, apps: &[&str]) -> Result<Vec<OpenCircuit>, RedisError> {
    let mut connection = connect(address, desired).await?;
    let circuits: Vec<_> = apps
        .iter()
        .flat_map(|app| ENDPOINTS.map(|endpoint| (*app, endpoint)))
        .collect();
    let mut ask = redis::pipe();
    for (app, endpoint) in &circuits {
        ask.cmd("HMGET")
            .arg(format!("{REDIS_KEY_PREFIX}breaker:{app}:{endpoint}"))
            .arg("state")
            .arg("until");
    }
    let answers: Vec<(Option<String>, Option<i64>)> = ask.query_async(&mut connection).await?;
    let open = circuits.into_iter().zip(answers);
    Ok(open
        .filter_map(|((app, endpoint), (state, until))| {
            state?;
            Some(OpenCircuit {
                app: app.to_owned(),
                endpoint,
                until: Timestamp::from_millisecond(until?).ok()?,
            })
        })
        .collect())
}
