//! The HTTP API as an application developer sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::mock::Mock;
use crate::{cluster, eventually};

/// The gateway of the hub under test, called with the key of its default client.
pub struct Gateway {
    http: Client,
    base: String,
    key: String,
}

/// An answer of the API: status, media type and JSON body.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The media type, without parameters.
    pub media_type: String,
    /// The body; null when it is no JSON.
    pub body: Value,
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

    /// The same gateway, called with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            http: self.http.clone(),
            base: self.base.clone(),
            key: key.to_owned(),
        }
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

    /// Takes a new Flickr user through the OAuth flow; answers the user's id. The name is made unique:
    /// on a lab that is kept, a user of an earlier run has jobs, photos and calls already.
    pub async fn authorise(&self, name: &str, permission: &str) -> String {
        let answer = send(
            self.post("/api/v1/oauth/start")
                .json(&json!({"permission": permission})),
        )
        .await;
        assert!(answer.status.is_success(), "{answer:?}");
        let link = answer.body["authorize_url"].as_str().expect("a link").to_owned();
        let back = Mock::of_the_hub().consent(&link, &unique(name)).await;
        let answer = send(self.http.get(back)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.body["user_id"].as_str().expect("the user's id").to_owned()
    }
}

/// A name that no run before this one has used.
fn unique(name: &str) -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{:x}", since_epoch.as_nanos())
}

/// The id of the job in an answer of 202.
pub fn job_id(answer: &Answer) -> String {
    answer.body["job_id"].as_str().expect("a job id").to_owned()
}

/// Sends a request and reads its answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("the API answers");
    let media_type = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .to_owned();
    Answer {
        status: response.status(),
        media_type,
        body: response.json().await.unwrap_or(Value::Null),
    }
}

/// A form with a JPEG of about `length` bytes: a JPEG by its first bytes, as far as anybody here looks.
pub fn photo_form(user_id: &str, length: usize) -> Form {
    let mut photo = vec![0xff, 0xd8, 0xff, 0xe0];
    photo.resize(length.max(4), 0);
    let part = Part::bytes(photo)
        .file_name("lighthouse.jpg")
        .mime_str("image/jpeg")
        .expect("a media type");
    Form::new()
        .text("user_id", user_id.to_owned())
        .part("photo", part)
}
