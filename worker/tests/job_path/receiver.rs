//! A receiver of callbacks on the loopback interface that keeps what it was sent.

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
}

/// A receiver that takes every delivery.
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

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.seen.deliveries.lock().unwrap().clone()
    }
}

async fn take(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut deliveries = seen.deliveries.lock().unwrap();
    deliveries.push(Delivery { headers, body });
    StatusCode::NO_CONTENT
}
