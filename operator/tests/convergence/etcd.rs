//! The objects of one namespace as etcd stores them: taken, and put back in one transaction, so that a thousand tries begin
//! at the same moment. The API server's caches follow, because they watch etcd.
//!
//! By the JSON gateway of etcd's API (<https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const REGISTRY: &str = "/registry/";

/// An etcd.
#[derive(Clone)]
pub(crate) struct Etcd {
    address: String,
    client: reqwest::Client,
}

/// The objects of a namespace, each by its key, as base64 of what etcd stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored(BTreeMap<String, String>);

impl Etcd {
    /// The one that listens on this port of the loopback.
    pub(crate) fn new(port: u16) -> Self {
        Self {
            address: format!("http://127.0.0.1:{port}/v3/kv"),
            client: reqwest::Client::new(),
        }
    }

    /// Everything that is stored for a namespace now, but for events, and what belongs to it outside of it.
    pub(crate) async fn take(&self, namespace: &str) -> Stored {
        let keys = self.keys(namespace).await;
        if keys.is_empty() {
            return Stored::default();
        }
        let reads: Vec<Value> = keys
            .iter()
            .map(|key| json!({"request_range": {"key": STANDARD.encode(key)}}))
            .collect();
        let answer = self.ask("txn", &json!({"success": reads})).await;
        let responses = answer["responses"].as_array().expect("responses");
        let found = responses.iter().flat_map(|response| {
            let found = response["response_range"]["kvs"].as_array();
            found.into_iter().flatten()
        });
        let pair = |kv: &Value| {
            let key = STANDARD.decode(kv["key"].as_str()?).ok()?;
            Some((String::from_utf8(key).ok()?, kv["value"].as_str()?.to_owned()))
        };
        Stored(found.filter_map(pair).collect())
    }

    /// Makes what is stored for a namespace what it was.
    pub(crate) async fn put_back(&self, namespace: &str, stored: &Stored) {
        let now = self.take(namespace).await;
        let gone = now.0.keys().filter(|key| !stored.0.contains_key(*key));
        let deletes = gone.map(|key| json!({"request_delete_range": {"key": STANDARD.encode(key)}}));
        let other = stored
            .0
            .iter()
            .filter(|(key, value)| now.0.get(*key) != Some(value));
        let puts =
            other.map(|(key, value)| json!({"request_put": {"key": STANDARD.encode(key), "value": value}}));
        let changes: Vec<Value> = deletes.chain(puts).collect();
        if !changes.is_empty() {
            self.ask("txn", &json!({"success": changes})).await;
        }
    }

    /// Changes the JSON of a stored custom resource, past everything that the API server would say.
    pub(crate) async fn change(&self, key: &str, change: impl FnOnce(&mut Value)) {
        let range = json!({"key": STANDARD.encode(key)});
        let answer = self.ask("range", &range).await;
        let stored = answer["kvs"][0]["value"].as_str().expect("it is stored");
        let stored = STANDARD.decode(stored).expect("base64");
        let mut object: Value = serde_json::from_slice(&stored).expect("JSON");
        change(&mut object);
        let put = json!({"key": STANDARD.encode(key), "value": STANDARD.encode(object.to_string())});
        self.ask("put", &put).await;
    }

    async fn keys(&self, namespace: &str) -> Vec<String> {
        let end = format!("{}0", REGISTRY.trim_end_matches('/'));
        let range = json!({
            "key": STANDARD.encode(REGISTRY), "range_end": STANDARD.encode(end), "keys_only": true,
        });
        let answer = self.ask("range", &range).await;
        let found = answer["kvs"].as_array().into_iter().flatten();
        let keys = found.filter_map(|kv| String::from_utf8(STANDARD.decode(kv["key"].as_str()?).ok()?).ok());
        keys.filter(|key| is_of(key, namespace)).collect()
    }

    async fn ask(&self, what: &str, request: &Value) -> Value {
        let sent = self
            .client
            .post(format!("{}/{what}", self.address))
            .json(request)
            .send()
            .await;
        let answer = sent
            .and_then(reqwest::Response::error_for_status)
            .expect("etcd answers");
        answer.json().await.expect("JSON")
    }
}

/// Whether an object belongs to a namespace: it is in it, or its name says so. The namespace itself stays.
fn is_of(key: &str, namespace: &str) -> bool {
    let is_event = key.starts_with("/registry/events/");
    let is_in = key.contains(&format!("/{namespace}/")) || key.contains(&format!(":{namespace}:"));
    is_in && !is_event
}
