//! Redis behind Sentinel: one handle that finds the master, and finds the new one after a failover.
//!
//! A command is sent again when the connection is lost, does not answer in time, or reaches a server that is no
//! longer (or not yet) a master with enough replicas. The first sending may have taken effect, so **every operation
//! that goes through this handle must be idempotent**: a single command, or a script, whose repetition changes
//! nothing more. The scripts of [`crate::lane`] are written that way.
//!
//! A write that Redis acknowledged can still be lost, when the master dies before a replica has it. Redis is never the
//! only copy of anything; who writes here must be able to write again from MongoDB.

mod sentinel;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, PushInfo, RedisResult, ScriptInvocation};
use tokio::sync::{Mutex, OnceCell, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::ConnectError;
use crate::config::RedisConfig;

pub use sentinel::client;

/// How long an operation may take in all, with every repetition: about as long as a failover does. After that the
/// caller answers 503 rather than to keep its client waiting.
pub const PATIENCE: Duration = Duration::from_secs(6);
/// How long one answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before the first repetition; it doubles with each one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// Redis did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No master can be found or reached. Transient: a failover may be under way.
    #[error("there is no Redis master at the moment: {0}")]
    NoMaster(#[from] ConnectError),
    /// The master was lost and no other took over in time. Transient; what was asked may have been done.
    #[error("Redis is not available at the moment: {0}")]
    Unavailable(#[source] redis::RedisError),
    /// There was no answer in time. Transient; what was asked may have been done.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// Redis refused the command, or answered something of another type; sending it again would not help.
    #[error("Redis refused a command: {0}")]
    Refused(#[source] redis::RedisError),
}

impl RedisError {
    /// Whether the same operation may succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        if needs_another_connection(&error) {
            Self::Unavailable(error)
        } else {
            Self::Refused(error)
        }
    }
}

/// A duration as Redis takes it.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the error is about the server or the way to it, and not about the command.
///
/// `READONLY`, `MASTERDOWN` and `LOADING` come from a server that is not (yet) the master, `NOREPLICAS` from a master
/// that lost its replicas, perhaps because they already follow another one. A password that is refused may have been
/// rotated: the next connection reads it anew.
fn needs_another_connection(error: &redis::RedisError) -> bool {
    let about_the_way = matches!(error.kind(), ErrorKind::Io | ErrorKind::AuthenticationFailed);
    let about_the_server = matches!(
        error.code(),
        Some("READONLY" | "MASTERDOWN" | "LOADING" | "NOREPLICAS" | "NOAUTH" | "WRONGPASS")
    );
    about_the_way || about_the_server
}

/// A handle on the master; clones share one connection, over which any number of commands are under way at a time.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    config: RedisConfig,
    link: Mutex<Option<Link>>,
}

/// A connection, numbered so that only the one that failed is given up, not its successor.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    number: u64,
    /// The `run_id` of the server, once somebody asked for it.
    run: Arc<OnceCell<String>>,
}

impl Link {
    fn new(connection: MultiplexedConnection) -> Self {
        Self {
            connection,
            number: rand::random(),
            run: Arc::default(),
        }
    }

    /// Which start of which server this connection leads to.
    async fn run(&self) -> RedisResult<&str> {
        let run = self.run.get_or_try_init(|| run_of(self.connection.clone()));
        run.await.map(String::as_str)
    }
}

async fn run_of(mut connection: MultiplexedConnection) -> RedisResult<String> {
    let mut info = redis::cmd("INFO");
    let answer: String = info.arg("server").query_async(&mut connection).await?;
    let mut fields = answer.lines().filter_map(|line| line.split_once(':'));
    let run = fields.find(|(name, _)| *name == "run_id");
    let unnamed = || redis::RedisError::from((ErrorKind::UnexpectedReturnType, "INFO names no run_id"));
    run.map(|(_, run)| run.trim_end().to_owned()).ok_or_else(unnamed)
}

impl Redis {
    /// Finds the master and connects to it.
    ///
    /// # Errors
    /// When the password cannot be read, an address is not `host:port`, or no Sentinel leads to a master.
    pub async fn connect(config: &RedisConfig) -> Result<Self, ConnectError> {
        let connection = sentinel::connect_to_master(config, Some(RESPONSE_TIMEOUT)).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                config: config.clone(),
                link: Mutex::new(Some(Link::new(connection))),
            }),
        })
    }

    /// Sends one command, which must be idempotent.
    ///
    /// # Errors
    /// A transient error after [`PATIENCE`] at the latest; [`RedisError::Refused`] at once.
    pub async fn run<T: FromRedisValue + Send>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.with_patience(|mut link| async move { command.query_async(&mut link.connection).await })
            .await
    }

    /// Runs one script, which must be idempotent. The script is sent only where the server does not know it yet.
    ///
    /// # Errors
    /// A transient error after [`PATIENCE`] at the latest; [`RedisError::Refused`] at once.
    pub async fn script<T: FromRedisValue + Send>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        self.with_patience(|mut link| async move { call.invoke_async(&mut link.connection).await })
            .await
    }

    /// Runs one script, which must be idempotent and is told which start of which server it runs on (its `run_id`). `call`
    /// is called for each sending.
    ///
    /// # Errors
    /// As [`Redis::script`].
    pub async fn script_on_run<T: FromRedisValue + Send>(
        &self,
        call: impl Fn(&str) -> ScriptInvocation<'static> + Sync,
    ) -> Result<T, RedisError> {
        let call = &call;
        self.with_patience(|mut link| async move {
            let call = call(link.run().await?);
            call.invoke_async(&mut link.connection).await
        })
        .await
    }

    /// Sends several commands in one round trip, which must be idempotent each; their answers are not looked at.
    ///
    /// # Errors
    /// A transient error after [`PATIENCE`] at the latest; [`RedisError::Refused`] at once.
    pub async fn pipeline(&self, pipeline: &Pipeline) -> Result<(), RedisError> {
        self.with_patience(|mut link| async move { pipeline.query_async(&mut link.connection).await })
            .await
    }

    /// Subscribes to one channel, on a connection of its own. Tried once; what is published from then on comes through the
    /// receiver, until the connection is lost.
    ///
    /// # Errors
    /// When there is no master, or it refuses.
    pub async fn subscribe(
        &self,
        channel: &str,
    ) -> Result<(Subscription, mpsc::UnboundedReceiver<PushInfo>), RedisError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut connection = sentinel::subscriber_of_master(&self.shared.config, sender).await?;
        connection.subscribe(channel).await?;
        Ok((Subscription { connection }, receiver))
    }

    /// Whether the master answers; asked once.
    ///
    /// # Errors
    /// When it does not within 2 s.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let ask = self
            .once(|mut link| async move { redis::cmd("PING").query_async::<()>(&mut link.connection).await });
        timeout(RESPONSE_TIMEOUT, ask)
            .await
            .map_err(|_| RedisError::TimedOut)?
    }

    /// A reader of one list that waits on a connection of its own, since a waiting connection answers nothing else.
    #[must_use]
    pub fn waiter(&self, list: impl Into<String>) -> Waiter {
        Waiter {
            config: self.shared.config.clone(),
            list: list.into(),
            connection: Mutex::new(None),
        }
    }

    async fn with_patience<T, F, Fut>(&self, operation: F) -> Result<T, RedisError>
    where
        F: Fn(Link) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut longest = FIRST_PAUSE;
        loop {
            let Ok(answer) = timeout_at(deadline, self.once(&operation)).await else {
                return Err(RedisError::TimedOut);
            };
            let error = match answer {
                Err(error) if error.is_transient() => error,
                answer => return answer,
            };
            let pause = rand::random_range(Duration::ZERO..=longest);
            if Instant::now() + pause >= deadline {
                return Err(error);
            }
            sleep(pause).await;
            longest = LONGEST_PAUSE.min(longest * 2);
        }
    }

    async fn once<T, F, Fut>(&self, operation: F) -> Result<T, RedisError>
    where
        F: Fn(Link) -> Fut,
        Fut: Future<Output = RedisResult<T>>,
    {
        let link = self.link().await?;
        let number = link.number;
        match operation(link).await.map_err(RedisError::from) {
            Err(error) if error.is_transient() => {
                self.give_up(number).await;
                Err(error)
            }
            answer => answer,
        }
    }

    /// The present connection, or a new one. The lock is held while connecting, so that one task does it for all.
    async fn link(&self) -> Result<Link, ConnectError> {
        let mut link = self.shared.link.lock().await;
        if let Some(link) = link.as_ref() {
            return Ok(link.clone());
        }
        let connection = sentinel::connect_to_master(&self.shared.config, Some(RESPONSE_TIMEOUT)).await?;
        let new = Link::new(connection);
        *link = Some(new.clone());
        Ok(new)
    }

    async fn give_up(&self, number: u64) {
        let mut link = self.shared.link.lock().await;
        if link.as_ref().is_some_and(|link| link.number == number) {
            *link = None;
        }
    }
}

/// Keeps a subscription; dropping it ends it.
pub struct Subscription {
    connection: MultiplexedConnection,
}

impl Subscription {
    /// Whether the server that was subscribed to answers, and is a master still.
    ///
    /// # Errors
    /// When it does not within 2 s. Begin anew.
    pub async fn ping(&mut self) -> Result<(), RedisError> {
        if sentinel::is_led_by(&mut self.connection).await? {
            Ok(())
        } else {
            Err(ConnectError::from(sentinel::no_master("the server is not a master any more")).into())
        }
    }
}

/// Waits for elements of one list (`BLPOP`). One task at a time.
///
/// An element can be lost with the connection: use it for a hint to look, never for what must not be missed.
pub struct Waiter {
    config: RedisConfig,
    list: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Waiter {
    /// Takes the first element of the list, waiting for one at most `patience` (milliseconds count).
    ///
    /// # Errors
    /// When the master is lost. The next call looks for it again; pause before it.
    pub async fn next(&self, patience: Duration) -> Result<Option<String>, RedisError> {
        // Redis takes zero for "wait for ever".
        let patience = patience.max(Duration::from_millis(1));
        let mut slot = self.connection.lock().await;
        // Taken out, so that a call that is dropped half-way leaves no connection on which an answer is still to come.
        let mut connection = if let Some(connection) = slot.take() {
            connection
        } else {
            sentinel::connect_to_master(&self.config, None).await?
        };
        let mut command = redis::cmd("BLPOP");
        command.arg(&self.list).arg(patience.as_secs_f64());
        let ask = command.query_async::<Option<(String, String)>>(&mut connection);
        match timeout(patience + RESPONSE_TIMEOUT, ask).await {
            Ok(Ok(element)) => {
                *slot = Some(connection);
                Ok(element.map(|(_list, element)| element))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RedisError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_server(code: &str) -> redis::RedisError {
        redis::make_extension_error(code.to_owned(), None)
    }

    #[test]
    fn a_server_that_is_no_master_is_left() {
        for code in ["READONLY", "MASTERDOWN", "LOADING", "NOREPLICAS", "WRONGPASS"] {
            assert!(RedisError::from(from_server(code)).is_transient(), "{code}");
        }
    }

    #[test]
    fn a_lost_connection_is_replaced() {
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(RedisError::from(redis::RedisError::from(lost)).is_transient());
    }

    #[test]
    fn a_command_that_is_wrong_is_not_repeated() {
        assert!(!RedisError::from(from_server("WRONGTYPE")).is_transient());
        assert!(!RedisError::from(from_server("ERR")).is_transient());
    }
}
