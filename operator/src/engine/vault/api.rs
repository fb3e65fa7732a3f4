//! The HTTP API of Vault and OpenBao, as far as the operator uses it.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use crate::engine::{OBSERVE_TIMEOUT, http};

/// How long an initialisation may take. Far longer than other actions: an answer that nobody waits for is lost.
pub(super) const INITIALISE_TIMEOUT: Duration = Duration::from_mins(2);

/// A request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer; transient.
    #[error("{}", http::short(.0))]
    Request(#[from] reqwest::Error),
    /// The token is missing, has ended, or does not permit it.
    #[error("permission denied")]
    Forbidden,
    /// The server refused; its own words.
    #[error("HTTP {status}: {message}")]
    Refused {
        /// The status code.
        status: u16,
        /// What the server says is wrong.
        message: String,
    },
    /// The answer lacks what it should hold.
    #[error("an answer without {0}")]
    Incomplete(&'static str),
    /// The address cannot be the base of a path.
    #[error("the address cannot be the base of a path")]
    Address,
}

/// What opens an initialised OpenBao.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The one share that unseals a member, base64.
    pub unseal_key: SecretString,
    /// The token that may do everything.
    pub root_token: SecretString,
}

/// The answer of `GET sys/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Health {
    /// Whether it belongs to an initialised cluster.
    pub initialized: bool,
    /// Whether it cannot read its own data yet.
    pub sealed: bool,
    /// Whether another member is active.
    pub standby: bool,
}

/// The part of the answer of `GET sys/health` that only an unsealed server gives.
#[derive(Deserialize)]
struct Cluster {
    cluster_id: Option<String>,
}

#[derive(Deserialize)]
struct Initialised {
    keys_base64: Vec<SecretString>,
    root_token: SecretString,
}

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

/// One server, or a Service before several.
#[derive(Clone, Debug)]
pub struct Api {
    client: reqwest::Client,
    address: Url,
    namespace: Option<String>,
}

impl Api {
    /// The server at `address`.
    pub const fn new(client: reqwest::Client, address: Url, namespace: Option<String>) -> Self {
        Self {
            client,
            address,
            namespace,
        }
    }

    /// Whether it is initialised, sealed, active. Needs no token.
    pub async fn health(&self) -> Result<Health, ApiError> {
        self.sys_health().await
    }

    /// The id of the cluster, drawn when it was initialised. Needs no token; a server that is sealed does not know it.
    pub async fn cluster_id(&self) -> Result<String, ApiError> {
        let cluster: Cluster = self.sys_health().await?;
        let id = cluster.cluster_id.filter(|id| !id.is_empty());
        id.ok_or(ApiError::Incomplete("the id of the cluster"))
    }

    async fn sys_health<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        // Every state is an answer here, not an error.
        let states = [
            ("standbyok", "true"),
            ("perfstandbyok", "true"),
            ("sealedcode", "200"),
            ("uninitcode", "200"),
        ];
        let request = self
            .server_request(Method::GET, "sys/health")?
            .query(&states)
            .timeout(OBSERVE_TIMEOUT);
        body(answer(request).await?).await
    }

    /// Initialises the server with one key share. The answer is the only copy of the keys.
    pub async fn initialise(&self) -> Result<Keys, ApiError> {
        let request = self
            .server_request(Method::POST, "sys/init")?
            .json(&json!({ "secret_shares": 1, "secret_threshold": 1 }))
            .timeout(INITIALISE_TIMEOUT);
        let initialised: Initialised = body(answer(request).await?).await?;
        let unseal_key = initialised.keys_base64.into_iter().next();
        Ok(Keys {
            unseal_key: unseal_key.ok_or(ApiError::Incomplete("an unseal key"))?,
            root_token: initialised.root_token,
        })
    }

    /// Unseals the server; it goes on in the background after the answer.
    pub async fn unseal(&self, key: &SecretString) -> Result<(), ApiError> {
        let request = self
            .server_request(Method::POST, "sys/unseal")?
            .json(&json!({ "key": key.expose_secret() }));
        answer(request).await.map(drop)
    }

    /// The `data` of what is at a path; `None` if nothing is there.
    pub async fn read(&self, token: &SecretString, path: &str) -> Result<Option<Value>, ApiError> {
        let request = self.request(Method::GET, path)?.timeout(OBSERVE_TIMEOUT);
        match answer(authorise(request, token)).await {
            Ok(found) => Ok(body::<Value>(found).await?.get_mut("data").map(Value::take)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            // The answer for a mount that does not exist.
            Err(ApiError::Refused { status: 400, message }) if message.starts_with("No ") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes to a path and returns the whole answer, `null` if it has none.
    pub async fn write(
        &self,
        token: Option<&SecretString>,
        method: Method,
        path: &str,
        content: &Value,
    ) -> Result<Value, ApiError> {
        let request = self.request(method, path)?.json(content);
        let found = answer(match token {
            Some(token) => authorise(request, token),
            None => request,
        })
        .await?;
        if found.status() == StatusCode::NO_CONTENT {
            return Ok(Value::Null);
        }
        body(found).await
    }

    /// A request in the namespace.
    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let request = self.server_request(method, path)?;
        Ok(match &self.namespace {
            Some(namespace) => request.header("X-Vault-Namespace", namespace),
            None => request,
        })
    }

    /// A request about the server as a whole, which is refused in a namespace.
    fn server_request(&self, method: Method, path: &str) -> Result<RequestBuilder, ApiError> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| ApiError::Address)?
            .pop_if_empty()
            .push("v1")
            .extend(path.split('/'));
        Ok(self.client.request(method, url))
    }
}

fn authorise(request: RequestBuilder, token: &SecretString) -> RequestBuilder {
    match header_value(token) {
        Some(value) => request.header("X-Vault-Token", value),
        // Refused by the server, with a message that says so.
        None => request,
    }
}

fn header_value(secret: &SecretString) -> Option<::http::HeaderValue> {
    let mut value = ::http::HeaderValue::from_str(secret.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn answer(request: RequestBuilder) -> Result<reqwest::Response, ApiError> {
    let answer = request.send().await?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        StatusCode::FORBIDDEN => Err(ApiError::Forbidden),
        status => {
            let errors: Errors = answer.json().await.unwrap_or_default();
            Err(ApiError::Refused {
                status: status.as_u16(),
                message: errors.errors.join("; "),
            })
        }
    }
}

async fn body<T: DeserializeOwned>(answer: reqwest::Response) -> Result<T, ApiError> {
    Ok(answer.json().await?)
}
