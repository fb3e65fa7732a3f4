//! The line between an operator and the API server: every request is counted, and one of them goes wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The API server refuses it with this status.
    Refused(u16),
    /// It does not arrive, and nobody answers.
    TimedOut,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is done, and the operator dies before the answer.
    Crash,
    /// It is answered with what was the case some time before.
    Stale,
    /// It and all that follow are.
    StaleFromNow,
}

/// A request, as it is told apart from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its method.
    pub(crate) method: Method,
    /// Its path and query.
    pub(crate) address: String,
    /// Whether the API server understood it and did not want it, so that nothing changed.
    pub(crate) is_refused: bool,
}

impl Asked {
    /// Whether it changed anything that lasts.
    pub(crate) fn is_write(&self) -> bool {
        !self.is_read() && !self.is_event() && !self.is_refused
    }

    /// Whether it changes nothing.
    pub(crate) fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    /// Whether it is about an event, which is a courtesy.
    pub(crate) fn is_event(&self) -> bool {
        self.address.contains("/events")
    }

    /// Whether it deletes something that data is lost with.
    pub(crate) fn deletes_data(&self) -> bool {
        let kinds = ["/persistentvolumeclaims/", "/secrets/"];
        self.method == Method::DELETE && kinds.iter().any(|kind| self.address.contains(kind))
    }
}

/// An answer to a read.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// Whether it tells the same as another one; every list has the version of the whole store.
    pub(crate) fn tells_the_same(&self, other: &Self) -> bool {
        let without_version = |answer: &Self| {
            let mut value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            if value["items"].is_array() {
                value["metadata"] = Value::Null;
            }
            value
        };
        self.status == other.status && without_version(self) == without_version(other)
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body.to_vec()));
        *response.status_mut() = self.status;
        response
    }
}

/// What was answered to each read.
pub(crate) type Answers = HashMap<String, Answer>;

/// The line of one operator. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Line {
    state: Arc<Mutex<State>>,
    crashed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    planned: Option<(usize, Fault)>,
    /// The read that is answered with something older.
    stale: Option<String>,
    older: Answers,
    asked: Vec<Asked>,
    answers: Answers,
    struck: bool,
    dead: bool,
}

/// What becomes of a request.
enum Course {
    Straight,
    Never,
    Instead(Response<Body>),
    NoAnswer,
    ThenNoAnswer,
    ThenDeath,
}

impl Line {
    /// One on which the request of this number, of those that are expected, goes wrong. Stale answers are taken from `older`.
    pub(crate) fn with_fault(number: usize, fault: Fault, expected: &[Asked], older: Answers) -> Self {
        let line = Self::default();
        // Reads come at the same time, in no order, so the one of this number may have none: then it is one near to it.
        let near = (number..expected.len()).chain((0..number).rev());
        let mut addresses = near
            .filter_map(|number| expected.get(number))
            .map(|asked| &asked.address);
        let stale = addresses.find(|address| older.contains_key(*address)).cloned();
        {
            let mut state = line.lock();
            state.planned = Some((number, fault));
            state.stale = stale;
            state.older = older;
        }
        line
    }

    /// A client that reaches the API server by this line.
    pub(crate) fn client(&self, server: Client) -> Client {
        let line = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (line, server) = (line.clone(), server.clone());
            async move { line.pass(server, request).await }
        });
        Client::new(service, "default")
    }

    /// Comes to an end when the operator has died.
    pub(crate) async fn death(&self) {
        self.crashed.notified().await;
    }

    /// Whether the fault came to pass.
    pub(crate) fn has_struck(&self) -> bool {
        self.lock().struck
    }

    /// Whether the operator has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Takes what was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        let mut state = self.lock();
        // Faults are of one round.
        state.planned = None;
        std::mem::take(&mut state.asked)
    }

    /// Takes what was answered to reads since the last time, the last answer of each.
    pub(crate) fn take_answers(&self) -> Answers {
        std::mem::take(&mut self.lock().answers)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked with it")
    }

    async fn pass(&self, server: Client, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        let asked = Asked {
            method: request.method().clone(),
            address: request.uri().to_string(),
            is_refused: false,
        };
        let (number, course) = self.course(&asked);
        match course {
            Course::Never => std::future::pending().await,
            Course::Instead(answer) => Ok(answer),
            Course::NoAnswer => Err(no_answer()),
            Course::Straight => self.answer(number, &asked, server, request).await,
            Course::ThenNoAnswer => {
                let _ = self.answer(number, &asked, server, request).await;
                Err(no_answer())
            }
            Course::ThenDeath => {
                let _ = self.answer(number, &asked, server, request).await;
                self.lock().dead = true;
                self.crashed.notify_one();
                std::future::pending().await
            }
        }
    }

    /// The number of a request, and what becomes of it.
    fn course(&self, asked: &Asked) -> (usize, Course) {
        let mut state = self.lock();
        let number = state.asked.len();
        if state.dead {
            return (number, Course::Never);
        }
        state.asked.push(asked.clone());
        (number, state.course_of(number, asked))
    }

    async fn answer(
        &self,
        number: usize,
        asked: &Asked,
        server: Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, kube::Error> {
        let response = server.send(request).await?;
        let status = response.status();
        if !asked.is_read() {
            let is_refused = matches!(status.as_u16(), 400 | 403 | 422);
            if let Some(asked) = self.lock().asked.get_mut(number) {
                asked.is_refused = is_refused;
            }
            return Ok(response);
        }
        let body = response.into_body().collect_bytes().await?;
        let answer = Answer { status, body };
        let response = answer.response();
        self.lock().answers.insert(asked.address.clone(), answer);
        Ok(response)
    }
}

impl State {
    fn course_of(&mut self, number: usize, asked: &Asked) -> Course {
        let Some((planned, fault)) = self.planned else {
            return Course::Straight;
        };
        if fault == Fault::StaleFromNow && number >= planned {
            return self.stale(asked);
        }
        if fault == Fault::Stale {
            let is_due = !self.struck && self.stale.as_ref() == Some(&asked.address);
            return if is_due {
                self.stale(asked)
            } else {
                Course::Straight
            };
        }
        if number != planned || self.struck {
            return Course::Straight;
        }
        self.struck = true;
        match fault {
            Fault::Refused(code) => Course::Instead(refusal(code)),
            Fault::TimedOut => Course::NoAnswer,
            Fault::AnswerLost => Course::ThenNoAnswer,
            Fault::Crash => Course::ThenDeath,
            Fault::Stale | Fault::StaleFromNow => Course::Straight,
        }
    }

    fn stale(&mut self, asked: &Asked) -> Course {
        match self.older.get(&asked.address).filter(|_| asked.is_read()) {
            Some(older) => {
                self.struck = true;
                Course::Instead(older.response())
            }
            None => Course::Straight,
        }
    }
}

fn no_answer() -> kube::Error {
    kube::Error::Service("no answer in time".into())
}

fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        429 => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": "a fault of the test", "code": code});
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status");
    response
}
