//! A place to send webhooks to: `/_mock/callbacks/{name}`.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::World;

/// Deliveries kept of one name; older ones are dropped.
const CAPACITY: usize = 10_000;

/// What came.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Delivery {
    /// Milliseconds since 1970-01-01 UTC.
    time_ms: i64,
    /// The status answered.
    status: u16,
    headers: Vec<(String, String)>,
    /// The body as text, if it is text.
    body: Option<String>,
    /// The body octet by octet, as a signature covers it.
    body_base64: String,
}

/// How to answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Behaviour {
    /// The status.
    status: u16,
    /// How many deliveries get it; without, all. Afterwards it is 200 again.
    times: Option<u32>,
    /// Milliseconds to wait before answering.
    #[serde(default)]
    delay_ms: u64,
}

#[derive(Debug, Default)]
struct Sink {
    deliveries: VecDeque<Delivery>,
    behaviour: Option<Behaviour>,
}

/// All sinks by name.
#[derive(Debug, Default)]
pub(crate) struct Callbacks(HashMap<String, Sink>);

impl Callbacks {
    /// The status and delay of the next delivery, its count spent.
    fn next(&mut self, name: &str) -> (u16, u64) {
        let sink = self.0.entry(name.to_owned()).or_default();
        match &mut sink.behaviour {
            None | Some(Behaviour { times: Some(0), .. }) => (200, 0),
            Some(behaviour) => {
                if let Some(times) = &mut behaviour.times {
                    *times -= 1;
                }
                (behaviour.status, behaviour.delay_ms)
            }
        }
    }

    fn record(&mut self, name: &str, delivery: Delivery) {
        let deliveries = &mut self.0.entry(name.to_owned()).or_default().deliveries;
        if deliveries.len() == CAPACITY {
            deliveries.pop_front();
        }
        deliveries.push_back(delivery);
    }
}

/// `POST`: records a delivery.
pub(crate) async fn receive(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let (status, delay_ms) = world.state().callbacks.next(&name);
    let delivery = Delivery {
        time_ms: Timestamp::now().as_millisecond(),
        status,
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect(),
        body: String::from_utf8(body.to_vec()).ok(),
        body_base64: BASE64_STANDARD.encode(&body),
    };
    world.state().callbacks.record(&name, delivery);
    tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `GET`: lists the deliveries, oldest first.
pub(crate) async fn list(State(world): State<Arc<World>>, Path(name): Path<String>) -> Json<Vec<Delivery>> {
    let state = world.state();
    Json(
        state
            .callbacks
            .0
            .get(&name)
            .map(|sink| sink.deliveries.iter().cloned().collect())
            .unwrap_or_default(),
    )
}

/// `PUT`: tells how to answer from now on.
pub(crate) async fn behave(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    Json(behaviour): Json<Behaviour>,
) -> StatusCode {
    world.state().callbacks.0.entry(name).or_default().behaviour = Some(behaviour);
    StatusCode::NO_CONTENT
}

/// `DELETE`: forgets deliveries and behaviour.
pub(crate) async fn forget(State(world): State<Arc<World>>, Path(name): Path<String>) -> StatusCode {
    world.state().callbacks.0.remove(&name);
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programmed_status_lasts_as_often_as_told() {
        let mut callbacks = Callbacks::default();
        assert_eq!(callbacks.next("a"), (200, 0));
        let behaviour = Behaviour {
            status: 503,
            times: Some(2),
            delay_ms: 5,
        };
        callbacks.0.entry("a".into()).or_default().behaviour = Some(behaviour);
        let statuses: Vec<_> = (0..3).map(|_| callbacks.next("a").0).collect();
        assert_eq!(statuses, [503, 503, 200]);
        assert_eq!(callbacks.next("b"), (200, 0));
    }
}
