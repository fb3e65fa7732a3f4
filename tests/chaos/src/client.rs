//! One client of the API: it submits what is drawn, obeys what it is told, and writes everything down.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flickrhub_e2e::gateway::Gateway;
use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::history::{Answer, Attempt, Operation};
use crate::order::Order;

/// How long a client waits for an answer. Shorter than the hub's own limit, so that clients give up on answers that come.
const PATIENCE: Duration = Duration::from_secs(12);

/// How often a client sends one order at most.
const ATTEMPTS: usize = 8;

/// The longest wait after which a client comes again. Who is refused for longer gives the order up; who does not know what
/// became of the order comes again too early, which the hub has to bear.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What clients write down, shared.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<Operation>>>);

impl Notes {
    /// Everything so far.
    pub fn all(&self) -> Vec<Operation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every job that was accepted so far.
    pub fn accepted(&self) -> Vec<String> {
        let operations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = operations.iter().flat_map(|operation| &operation.attempts);
        let mut jobs: Vec<_> = attempts
            .filter_map(|attempt| match &attempt.answer {
                Answer::Accepted { job_id } => Some(job_id.clone()),
                Answer::Refused { .. } | Answer::Unknown { .. } => None,
            })
            .collect();
        jobs.sort();
        jobs.dedup();
        jobs
    }

    /// Notes one more.
    pub fn add(&self, operation: Operation) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
    }
}

/// A client, which has one user.
pub struct Client {
    /// The API.
    pub gateway: Gateway,
    /// The user.
    pub user: String,
    /// A photo of the user.
    pub photo_id: String,
    /// What precedes the numbers of its markers.
    pub name: String,
    /// Where callbacks go.
    pub sink: String,
    /// The longest pause between two orders.
    pub pause: Duration,
    /// Its dice.
    pub rng: StdRng,
}

impl Client {
    /// Submits one order after the other until `end`.
    pub async fn work(mut self, end: Instant, notes: Notes) {
        let mut number = 0;
        while Instant::now() < end {
            number += 1;
            let marker = format!("{}-{number}", self.name);
            let order = Order::draw(&mut self.rng, &self.user, &self.photo_id, marker, &self.sink);
            notes.add(submit(&self.gateway, &order, &mut self.rng).await);
            sleep(self.rng.random_range(Duration::ZERO..=self.pause)).await;
        }
    }
}

/// Submits an order, again and again with the same idempotency key until the answer is clear.
pub async fn submit(gateway: &Gateway, order: &Order, rng: &mut StdRng) -> Operation {
    let mut operation = order.operation();
    while operation.attempts.len() < ATTEMPTS {
        let (attempt, again_after) = attempt(gateway, order, rng).await;
        let is_refused = matches!(attempt.answer, Answer::Refused { .. });
        operation.attempts.push(attempt);
        match again_after {
            None => break,
            Some(wait) if is_refused && wait > LONGEST_WAIT => break,
            Some(wait) => {
                let a_little = rng.random_range(Duration::ZERO..Duration::from_millis(500));
                sleep(wait.min(LONGEST_WAIT) + a_little).await;
            }
        }
    }
    operation
}

/// Submits an order once; and when to come again, if at all.
pub async fn attempt(gateway: &Gateway, order: &Order, rng: &mut StdRng) -> (Attempt, Option<Duration>) {
    let trace_id = trace_id(rng);
    let request = order
        .request(gateway)
        .header("X-Trace-Id", &trace_id)
        .header("Idempotency-Key", &order.marker)
        .timeout(PATIENCE);
    let sent_ms = now_ms();
    let told = told(request.send().await).await;
    let attempt = Attempt {
        trace_id,
        sent_ms,
        ended_ms: now_ms(),
        answer: told.answer,
    };
    (attempt, told.again_after)
}

/// An answer, and when to come again, if at all.
struct Told {
    answer: Answer,
    again_after: Option<Duration>,
}

async fn told(response: reqwest::Result<Response>) -> Told {
    let unknown = |error: reqwest::Error| Told {
        answer: Answer::Unknown {
            reason: cause(&error),
        },
        again_after: Some(Duration::from_secs(1)),
    };
    let response = match response {
        Ok(response) => response,
        Err(error) => return unknown(error),
    };
    let status = response.status().as_u16();
    let retry_after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    match response.json::<Value>().await {
        Ok(body) => judge(status, retry_after, &body),
        // A refusal is one by its status alone; a 202 without its body names no job.
        Err(_) if status != 202 => judge(status, retry_after, &Value::Null),
        Err(error) => unknown(error),
    }
}

/// What an answer says of the job.
fn judge(status: u16, retry_after: Option<Duration>, body: &Value) -> Told {
    let code = body["code"].as_str().unwrap_or_default();
    let refused = || Answer::Refused {
        status,
        code: code.to_owned(),
    };
    let open = status >= 500 && status != 503 || code == "outcome_unknown";
    match (status, body["job_id"].as_str()) {
        (202, Some(job_id)) => Told {
            answer: Answer::Accepted {
                job_id: job_id.to_owned(),
            },
            again_after: None,
        },
        _ if open || status < 300 => Told {
            answer: Answer::Unknown {
                reason: format!("{status} {code}"),
            },
            again_after: Some(retry_after.unwrap_or(Duration::from_secs(1))),
        },
        // In flight: the request before this one with the same key is not answered yet.
        (409 | 429 | 503, _) => Told {
            answer: refused(),
            again_after: Some(retry_after.unwrap_or(Duration::from_secs(1))),
        },
        _ => Told {
            answer: refused(),
            again_after: None,
        },
    }
}

fn cause(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    };
    kind.to_owned()
}

/// A trace id as W3C Trace Context has them: 16 bytes, not all zero.
fn trace_id(rng: &mut impl Rng) -> String {
    format!("{:032x}", rng.random_range(1..=u128::MAX))
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        judge(status, None, body).answer
    }

    #[test]
    fn only_a_clear_no_is_a_refusal() {
        for status in [400, 401, 403, 409, 413, 422, 429, 503] {
            let refused = |code: &str| Answer::Refused {
                status,
                code: code.to_owned(),
            };
            assert_eq!(answer(status, &Value::Null), refused(""));
            let full = json!({"code": "class_rate_exceeded"});
            assert_eq!(answer(status, &full), refused("class_rate_exceeded"));
        }
        for status in [200, 500, 502, 504] {
            assert!(
                matches!(answer(status, &Value::Null), Answer::Unknown { .. }),
                "{status}"
            );
        }
        let open = json!({"code": "outcome_unknown", "job_id": "1"});
        assert!(matches!(answer(503, &open), Answer::Unknown { .. }));
    }

    #[test]
    fn a_202_names_its_job() {
        let accepted = Answer::Accepted {
            job_id: "1".to_owned(),
        };
        assert_eq!(answer(202, &json!({"job_id": "1"})), accepted);
        assert!(matches!(answer(202, &Value::Null), Answer::Unknown { .. }));
    }

    #[test]
    fn who_is_asked_to_come_again_does_and_who_is_wrong_does_not() {
        let wait = Some(Duration::from_secs(7));
        for status in [429, 503, 504] {
            assert_eq!(judge(status, wait, &Value::Null).again_after, wait);
        }
        assert_eq!(judge(422, None, &Value::Null).again_after, None);
        assert_eq!(judge(202, None, &json!({"job_id": "1"})).again_after, None);
    }
}
