//! A receiver of callbacks on the loopback interface that keeps what it was sent.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

/// One delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Clone, Default)]
struct Seen {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    /// What is answered, one after the other; 204 once there are none left.
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

/// A receiver that takes every delivery, unless it was told to answer otherwise.
pub(crate) struct Receiver {
    pub(crate) url: String,
    seen: Seen,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let seen = Seen::default();
        let routes = Router::new().route("/hook", post(take)).with_state(seen.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, seen }
    }

    /// Has the next delivery answered so.
    pub(crate) fn answer_next(&self, status: u16) {
        let status = StatusCode::from_u16(status).unwrap();
        self.seen.answers.lock().unwrap().push_back(status);
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.seen.deliveries.lock().unwrap().clone()
    }
}

async fn take(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> StatusCode {
    seen.deliveries.lock().unwrap().push(Delivery { headers, body });
    let answer = seen.answers.lock().unwrap().pop_front();
    answer.unwrap_or(StatusCode::NO_CONTENT)
}
