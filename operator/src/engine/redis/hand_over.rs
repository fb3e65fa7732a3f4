//! A planned change of the master, without a lost write and in about a second.
//!
//! The master refuses writes first: else it would go on acknowledging them after another one was chosen, and these would
//! be lost. Then a Sentinel chooses another master, and the former one is made to follow it at once; the Sentinels would
//! do that only after ten seconds.
//!
//! Meanwhile the master pings its replicas no more: a ping that they get and the new master does not would cost them a full
//! copy of the data.
//!
//! If the process dies in between, the master takes writes again when its pause ends, and the Sentinels end a failover
//! that was begun by themselves. Its pings come back with its restart, for which it hands over.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};
use tokio::time::{Instant, sleep};

use super::Desired;
use super::servers::{connect, sentinel, short};

/// How long the master refuses writes at the longest, in milliseconds.
const PAUSE_MS: u64 = 10_000;
/// Seconds between two pings of the replicas, as the server starts with, and while it hands over.
const PING_PERIOD: u32 = 1;
const PING_PERIOD_MEANWHILE: u32 = 60;
/// How long the replicas have to take what was written before the pause.
const SETTLE: Duration = Duration::from_millis(200);
/// How long the Sentinels have to choose another master.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long the Sentinels may take until they have looked at every replica.
const LOOK_OF_SENTINELS: Duration = Duration::from_secs(15);
/// Between two looks at who is the master.
const LOOK: Duration = Duration::from_millis(100);

/// The master has not handed over, and takes writes again.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// There is no such member.
    #[error("there is no such member")]
    Unknown,
    /// The master cannot be asked.
    #[error("the master said: {}", short(.0))]
    Master(#[source] RedisError),
    /// No Sentinel begins a failover.
    #[error("no Sentinel begins a failover")]
    Refused,
    /// The Sentinels do not learn that members which are to go must not be chosen.
    #[error("the Sentinels have not learnt yet which members are to go")]
    Unlearnt,
    /// The Sentinels have not chosen another master in time.
    #[error("the Sentinels have not chosen another master in {} s", PATIENCE.as_secs())]
    NotChosen,
}

/// Lets the Sentinels choose another master than the server of this index.
pub(super) async fn hand_over(desired: &Desired, index: usize) -> Result<(), HandOverError> {
    let address = desired.servers.get(index).ok_or(HandOverError::Unknown)?;
    pass_over_the_leaving(desired).await?;
    let mut master = connect(address, desired).await.map_err(HandOverError::Master)?;
    let pause: Result<(), RedisError> = client("PAUSE")
        .arg(PAUSE_MS)
        .arg("WRITE")
        .query_async(&mut master)
        .await;
    pause.map_err(HandOverError::Master)?;
    ping_every(&mut master, PING_PERIOD_MEANWHILE).await;
    sleep(SETTLE).await;
    let outcome = match choose(desired, address).await {
        Ok(chosen) => {
            follow(&mut master, &chosen).await;
            Ok(())
        }
        Err(error) => {
            // Nobody takes over, so to refuse writes any longer would only cost them.
            let _: Result<(), RedisError> = client("UNPAUSE").query_async(&mut master).await;
            Err(error)
        }
    };
    ping_every(&mut master, PING_PERIOD).await;
    outcome
}

/// Has the server ping its replicas every so many seconds; where it refuses, they copy everything.
async fn ping_every(server: &mut MultiplexedConnection, seconds: u32) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("repl-ping-replica-period").arg(seconds);
    let outcome: Result<(), RedisError> = set.query_async(server).await;
    if let Err(error) = outcome {
        tracing::debug!(error = short(&error), "the pings of a Redis stay as they were");
    }
}

/// Takes care that no server that is to go is chosen. The Sentinels learn a priority by their next look, within ten
/// seconds.
async fn pass_over_the_leaving(desired: &Desired) -> Result<(), HandOverError> {
    let leaving = desired.servers.get(desired.kept..).unwrap_or_default();
    let mut passed_over = Vec::new();
    for address in leaving {
        if let Ok(mut server) = connect(address, desired).await {
            let mut set = redis::cmd("CONFIG");
            set.arg("SET").arg("replica-priority").arg(0);
            let set: Result<(), RedisError> = set.query_async(&mut server).await;
            set.map_err(HandOverError::Master)?;
            passed_over.push(address.as_str());
        }
    }
    let began = Instant::now();
    while began.elapsed() < LOOK_OF_SENTINELS {
        if all_pass_over(desired, &passed_over).await {
            return Ok(());
        }
        sleep(5 * LOOK).await;
    }
    Err(HandOverError::Unlearnt)
}

/// Whether every Sentinel that answers knows that none of these may be chosen.
async fn all_pass_over(desired: &Desired, addresses: &[&str]) -> bool {
    if addresses.is_empty() {
        return true;
    }
    for sentinel_address in &desired.sentinels {
        let Ok(mut connection) = connect(sentinel_address, desired).await else {
            continue;
        };
        let replicas: Result<Vec<HashMap<String, String>>, RedisError> =
            sentinel("REPLICAS", &desired.master_name)
                .query_async(&mut connection)
                .await;
        let may_be_chosen = |replica: &HashMap<String, String>| {
            let name = replica.get("name").map_or("", String::as_str);
            addresses.contains(&name)
                && replica
                    .get("slave-priority")
                    .is_none_or(|priority| priority != "0")
        };
        if replicas.is_ok_and(|replicas| replicas.iter().any(may_be_chosen)) {
            return false;
        }
    }
    true
}

/// The address of the master that takes over.
async fn choose(desired: &Desired, former: &str) -> Result<(String, String), HandOverError> {
    for address in &desired.sentinels {
        let Ok(mut connection) = connect(address, desired).await else {
            continue;
        };
        let began: Result<(), RedisError> = sentinel("FAILOVER", &desired.master_name)
            .query_async(&mut connection)
            .await;
        if began.is_ok() {
            return until_chosen(&mut connection, desired, former).await;
        }
    }
    Err(HandOverError::Refused)
}

async fn until_chosen(
    connection: &mut MultiplexedConnection,
    desired: &Desired,
    former: &str,
) -> Result<(String, String), HandOverError> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let known: Result<(String, String), RedisError> =
            sentinel("GET-MASTER-ADDR-BY-NAME", &desired.master_name)
                .query_async(connection)
                .await;
        if let Ok((host, port)) = known
            && format!("{host}:{port}") != former
        {
            return Ok((host, port));
        }
        sleep(LOOK).await;
    }
    Err(HandOverError::NotChosen)
}

/// Makes the former master follow, and its clients ask the Sentinels anew. What fails here the Sentinels do later.
async fn follow(former: &mut MultiplexedConnection, (host, port): &(String, String)) {
    let mut replicate = redis::cmd("REPLICAOF");
    replicate.arg(host).arg(port);
    let mut disconnect = client("KILL");
    disconnect.arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
    for command in [replicate, client("UNPAUSE"), disconnect] {
        let outcome: Result<redis::Value, RedisError> = command.query_async(former).await;
        if let Err(error) = outcome {
            tracing::debug!(
                error = short(&error),
                "the former master leaves a step to the Sentinels"
            );
        }
    }
}

fn client(command: &str) -> Cmd {
    let mut invocation = redis::cmd("CLIENT");
    invocation.arg(command);
    invocation
}
