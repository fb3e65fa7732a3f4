//! A Vault for tests: it decrypts anything to `plain <ciphertext>`, counts, and can be away.
#![expect(clippy::unwrap_used, reason = "only tests use it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flickrhub_job::config::{VaultAuth, VaultConfig};
use flickrhub_job::model::JobId;
use flickrhub_job::vault::{Component, Vault};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Default)]
struct Inner {
    asked: AtomicU32,
    away: AtomicBool,
}

/// A running one.
pub(crate) struct FakeVault {
    inner: Arc<Inner>,
    address: String,
}

impl FakeVault {
    pub(crate) async fn start() -> Self {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let inner = Arc::new(Inner::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/v1/transit/decrypt/{key}", post(decrypt))
            .with_state(Arc::clone(&inner));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { inner, address }
    }

    /// A handle, logged in by a token.
    pub(crate) async fn connect(&self) -> Vault {
        let token_file = std::env::temp_dir().join(format!("flickrhub-token-{}", JobId::new()));
        std::fs::write(&token_file, "token").unwrap();
        let config = VaultConfig {
            address: self.address.parse().unwrap(),
            namespace: None,
            ca_file: None,
            auth: VaultAuth::Token {
                token_file: token_file.clone(),
            },
            transit_mount: "transit".to_owned(),
            user_tokens_key: "users".to_owned(),
            app_credentials_key: "apps".to_owned(),
        };
        let vault = Vault::connect(&config, Component::Worker).await.unwrap();
        std::fs::remove_file(token_file).unwrap();
        vault
    }

    /// How many requests to decrypt it has answered.
    pub(crate) fn asked(&self) -> u32 {
        self.inner.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn go_away(&self) {
        self.inner.away.store(true, Ordering::Relaxed);
    }

    pub(crate) fn come_back(&self) {
        self.inner.away.store(false, Ordering::Relaxed);
    }
}

/// The client names no content type.
async fn decrypt(State(vault): State<Arc<Inner>>, body: Bytes) -> (StatusCode, Json<Value>) {
    if vault.away.load(Ordering::Relaxed) {
        let sealed = json!({ "errors": ["Vault is sealed"] });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(sealed));
    }
    let request: Value = serde_json::from_slice(&body).unwrap();
    vault.asked.fetch_add(1, Ordering::Relaxed);
    let opened = |sealed: &Value| {
        let ciphertext = sealed["ciphertext"].as_str().unwrap_or_default();
        json!({ "plaintext": BASE64_STANDARD.encode(format!("plain {ciphertext}")) })
    };
    let data = match request["batch_input"].as_array() {
        Some(batch) => json!({ "batch_results": batch.iter().map(opened).collect::<Vec<_>>() }),
        None => opened(&request),
    };
    let answer = json!({
        "request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data,
    });
    (StatusCode::OK, Json(answer))
}
