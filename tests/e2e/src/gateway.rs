//! The HTTP API as an application developer sees it.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::mock::Mock;
use crate::{cluster, eventually, signature};

/// The gateway of the hub under test, called with the key of its default client.
#[derive(Clone)]
pub struct Gateway {
    http: Client,
    base: String,
    key: String,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Answer {
    /// A header, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The media type, without parameters.
    pub fn media_type(&self) -> &str {
        self.header("content-type").split(';').next().unwrap_or_default()
    }

    /// The stable name of a problem.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The fields that a problem names, in its order.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str()).collect()
    }
}

impl Gateway {
    /// The gateway of the hub under test.
    pub async fn of_the_hub() -> Self {
        let client = cluster::client().await;
        let hub = cluster::hub();
        Self {
            http: Client::new(),
            base: format!("http://{hub}-api.{}.svc", cluster::namespace()),
            key: cluster::secret(&client, &format!("{hub}-client-default"), "api-key").await,
        }
    }

    /// An API at this address, called with this key.
    pub fn at(base: &str, key: &str) -> Self {
        Self {
            http: Client::new(),
            base: base.to_owned(),
            key: key.to_owned(),
        }
    }

    /// The same gateway, called with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            http: self.http.clone(),
            base: self.base.clone(),
            key: key.to_owned(),
        }
    }

    /// A GET request that is signed with this key of a client instead of carrying it; of a path without a query.
    pub fn signed_get(&self, path: &str, key_id: &str, signing_key: &str) -> RequestBuilder {
        let authority = self.base.split("://").last().unwrap_or_default();
        let mut request = self.http.get(format!("{}{path}", self.base));
        for (name, value) in signature::of_get(authority, path, key_id, signing_key) {
            request = request.header(name, value);
        }
        request
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http
            .get(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
    }

    /// A POST request.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.http
            .post(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
    }

    /// A DELETE request.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.http
            .delete(format!("{}{path}", self.base))
            .bearer_auth(&self.key)
    }

    /// Submits a call of the REST API; answers the job's id.
    pub async fn submit(&self, job: Value) -> String {
        let answer = send(self.post("/api/v1/jobs").json(&job)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        job_id(&answer)
    }

    /// Waits until the job is in a final state; answers it.
    pub async fn finished(&self, job_id: &str) -> Value {
        eventually(
            &format!("job {job_id} is finished"),
            Duration::from_secs(90),
            || async {
                let job = send(self.get(&format!("/api/v1/jobs/{job_id}"))).await.body;
                let running = ["queued", "dispatched", "running"]
                    .iter()
                    .any(|state| job["state"] == *state);
                (!running && job["state"].is_string()).then_some(job)
            },
        )
        .await
    }

    /// Takes the Flickr user of this name through the OAuth flow; answers the user's id.
    pub async fn authorise(&self, name: &str, permission: &str) -> String {
        let answer = send(
            self.post("/api/v1/oauth/start")
                .json(&json!({"permission": permission})),
        )
        .await;
        assert!(answer.status.is_success(), "{answer:?}");
        let link = answer.body["authorize_url"].as_str().expect("a link").to_owned();
        let back = Mock::of_the_hub().consent(&link, name).await;
        let answer = send(self.http.get(back)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["user_id"].as_str().expect("the user's id").to_owned()
    }

    /// Has the hub forget a user's token.
    pub(crate) async fn forget(&self, user: &str) -> Result<(), String> {
        let request = self.delete(&format!("/api/v1/users/{user}/token"));
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let gone = answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND;
        gone.then_some(()).ok_or_else(|| answer.status().to_string())
    }
}

/// The id of the job in an answer of 202.
pub fn job_id(answer: &Answer) -> String {
    answer.body["job_id"].as_str().expect("a job id").to_owned()
}

/// Sends a request and reads its answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the API answers");
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body: response.json().await.unwrap_or(Value::Null),
    }
}

/// A JPEG of about `length` bytes, by its first bytes, as far as anybody here looks; no two parts of it are alike.
pub fn photo(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0];
    let rest = (4..length.max(4)).map(|index| (index * 31 + index / 251).to_le_bytes()[0]);
    bytes.extend(rest);
    bytes
}

/// A form with a photo.
pub fn photo_form(user_id: &str, photo: Vec<u8>) -> Form {
    let part = Part::bytes(photo)
        .file_name("lighthouse.jpg")
        .mime_str("image/jpeg")
        .expect("a media type");
    Form::new()
        .text("user_id", user_id.to_owned())
        .part("photo", part)
}
