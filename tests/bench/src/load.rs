//! Load on the API: as fast as so many connections go, or at a fixed rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use http::StatusCode;
use tokio::sync::Mutex;

use crate::Failure;
use crate::http_client::{Answer, Connection, Target};
use crate::quantile::{Times, number};

/// Connections that are opened at a time, so that the listener's backlog does not fill.
const OPENED_AT_A_TIME: usize = 64;

/// Makes the body of the request with this number.
pub(crate) type Body = Arc<dyn Fn(usize) -> Bytes + Send + Sync>;

/// What a load brought.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Times of the requests that were answered with 202.
    pub(crate) times: Times,
    /// What else became of requests, and of connections that did not open: how often.
    pub(crate) errors: BTreeMap<String, usize>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
}

impl Load {
    /// Requests that were not answered with 202.
    pub(crate) fn failed(&self) -> usize {
        self.errors.values().sum()
    }

    /// Accepted requests in a second.
    pub(crate) fn per_second(&self) -> f64 {
        number(self.times.len()) / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn of(outcomes: Vec<Outcome>, took: Duration) -> Self {
        let mut errors = BTreeMap::new();
        let times = outcomes
            .into_iter()
            .filter_map(|outcome| {
                outcome
                    .map_err(|error| *errors.entry(error).or_default() += 1)
                    .ok()
            })
            .collect();
        Self { times, errors, took }
    }
}

/// How long a request took, or what went wrong.
type Outcome = Result<Duration, String>;

fn judge(answer: Result<Answer, Failure>, since: Instant) -> Outcome {
    match answer {
        Ok(answer) if answer.status == StatusCode::ACCEPTED => Ok(since.elapsed()),
        Ok(answer) => Err(format!("{} {}", answer.status.as_u16(), answer.json()["code"])),
        Err(error) => Err(error.to_string()),
    }
}

/// Opens so many connections; those that did not open are told in the second part.
pub(crate) async fn open(target: &Target, connections: usize) -> (Vec<Connection>, BTreeMap<String, usize>) {
    let mut errors = BTreeMap::new();
    let opened: Vec<_> = futures::stream::iter(0..connections)
        .map(|_| target.connect())
        .buffer_unordered(OPENED_AT_A_TIME)
        .collect()
        .await;
    let opened = opened
        .into_iter()
        .filter_map(|outcome| {
            outcome
                .map_err(|error| *errors.entry(format!("connect: {error}")).or_default() += 1)
                .ok()
        })
        .collect();
    (opened, errors)
}

/// Sends `requests` jobs, the next one on each connection as soon as the one before is answered (a closed loop), and ends
/// at the latest after `limit`.
pub(crate) async fn closed(
    connections: Vec<Connection>,
    requests: usize,
    limit: Duration,
    body: Body,
) -> Load {
    let started = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    let clients = connections.into_iter().map(|mut connection| {
        let (next, body) = (Arc::clone(&next), Arc::clone(&body));
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            while started.elapsed() < limit {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= requests {
                    break;
                }
                let sent = Instant::now();
                let outcome = judge(connection.submit(body(index), None).await, sent);
                let broken = outcome.is_err();
                outcomes.push(outcome);
                if broken {
                    match connection.reopened().await {
                        Ok(fresh) => connection = fresh,
                        Err(_) => break,
                    }
                }
            }
            outcomes
        })
    });
    let outcomes = join_all(clients).await.into_iter().flatten().flatten().collect();
    Load::of(outcomes, started.elapsed())
}

/// Sends `requests` jobs at `rate` in a second, on each connection in turn. A request that has to wait for its connection
/// counts from when it was due, so a slow answer is not hidden by the requests that it held up.
pub(crate) async fn paced(connections: Vec<Connection>, requests: usize, rate: u32, body: Body) -> Load {
    let started = tokio::time::Instant::now();
    let connections: Vec<_> = connections
        .into_iter()
        .map(|connection| Arc::new(Mutex::new(connection)))
        .collect();
    let mut under_way = Vec::with_capacity(requests);
    for index in 0..requests {
        let Some(connection) = connections.get(index % connections.len().max(1)) else {
            break;
        };
        let due = started + Duration::from_secs_f64(number(index) / f64::from(rate.max(1)));
        tokio::time::sleep_until(due).await;
        let (connection, job) = (Arc::clone(connection), body(index));
        under_way.push(tokio::spawn(async move {
            judge(connection.lock().await.submit(job, None).await, due.into_std())
        }));
    }
    let outcomes = join_all(under_way).await.into_iter().flatten().collect();
    Load::of(outcomes, started.elapsed())
}
