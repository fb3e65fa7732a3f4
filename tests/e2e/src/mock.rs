//! The control side of the Flickr mock: faults, what it saw, callbacks that it received.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{cluster, eventually};

/// The Flickr mock beside the hub under test.
#[derive(Clone)]
pub struct Mock {
    http: Client,
    base: String,
}

impl Mock {
    /// The mock of the hub under test.
    pub fn of_the_hub() -> Self {
        Self::at(&format!("http://flickr-mock.{}.svc:8080", cluster::namespace()))
    }

    /// A mock at this address.
    pub fn at(base: &str) -> Self {
        Self {
            http: Client::builder()
                .redirect(Policy::none())
                .build()
                .expect("a client"),
            base: base.to_owned(),
        }
    }

    /// The user `name` consents; answers where Flickr sends the browser.
    pub async fn consent(&self, link: &str, name: &str) -> String {
        let answer = self
            .http
            .get(format!("{link}&as={name}"))
            .send()
            .await
            .expect("the mock answers");
        let location = answer
            .headers()
            .get("location")
            .expect("a redirect back to the API");
        location.to_str().expect("text").to_owned()
    }

    /// Adds rules by which the mock fails.
    pub async fn fail(&self, rules: Value) {
        let answer = answered(|| self.http.post(self.path("/_mock/faults")).json(&rules)).await;
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// Every call that the mock has seen.
    pub async fn log(&self) -> Vec<Value> {
        self.list("/_mock/log").await
    }

    /// The calls after the one with this `seq`, oldest first, at most `limit`.
    pub async fn log_after(&self, seq: u64, limit: usize) -> Vec<Value> {
        self.list(&format!("/_mock/log?after={seq}&limit={limit}")).await
    }

    /// Takes back every rule by which the mock fails.
    pub async fn clear_faults(&self) {
        answered(|| self.http.delete(self.path("/_mock/faults"))).await;
    }

    /// Every photo that the mock holds.
    pub async fn photos(&self) -> Vec<Value> {
        self.list("/_mock/photos").await
    }

    /// The calls of a method that the mock has seen from one user.
    pub async fn calls(&self, user: &str, method: &str) -> Vec<Value> {
        let seen = self.log().await.into_iter();
        seen.filter(|call| call["method"] == method && call["user"] == user)
            .collect()
    }

    /// The access tokens of a user, with their secrets.
    pub async fn tokens(&self, user: &str) -> Vec<Value> {
        self.list(&format!("/_mock/users/{user}/tokens")).await
    }

    /// The address of a callback sink.
    pub fn sink(&self, name: &str) -> String {
        self.path(&format!("/_mock/callbacks/{name}"))
    }

    /// What a callback sink has received.
    pub async fn callbacks(&self, name: &str) -> Vec<Value> {
        self.list(&format!("/_mock/callbacks/{name}")).await
    }

    /// Forgets a callback sink.
    pub(crate) async fn forget_sink(&self, name: &str) -> Result<(), String> {
        let answer = self.http.delete(self.sink(name)).send().await;
        answer.map(drop).map_err(|error| error.to_string())
    }

    async fn list(&self, path: &str) -> Vec<Value> {
        let answer = answered(|| self.http.get(self.path(path))).await;
        match answer.json().await.unwrap_or(json!([])) {
            Value::Array(entries) => entries,
            other => panic!("the mock answers a list, not {other}"),
        }
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Sends a request until it is answered: on a busy machine the mock may miss a probe, and is not reachable for a moment.
async fn answered(request: impl Fn() -> RequestBuilder) -> Response {
    eventually("the mock answers", Duration::from_secs(30), || async {
        request().send().await.ok()
    })
    .await
}

/// A header of a delivery, which the mock lists as pairs of name and value.
pub fn delivered_header<'a>(delivery: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = delivery["headers"].as_array()?;
    pairs.iter().find(|pair| pair[0] == name)?[1].as_str()
}
