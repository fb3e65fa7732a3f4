//! One client cannot see, change or act for what is another's: over every route of the OpenAPI document, so that a new route
//! is covered by being there, or fails this test until it says what it takes.

use flickrhub_api::openapi;
use flickrhub_job::model::JobId;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::hub::{ALL_SCOPES, Hub};

/// What is the owner's.
struct Owned {
    client_id: String,
    user_id: String,
    jobs: Vec<JobId>,
}

/// One request of the intruder.
struct Attempt {
    line: String,
    body: Option<&'static str>,
    /// Whether it names something of the owner's in its path.
    names_by_path: bool,
    /// The same in its query or body.
    names_otherwise: bool,
}

/// Query parameters that name nothing of anybody's.
const HARMLESS: [&str; 14] = [
    "state",
    "queue",
    "created_after",
    "created_before",
    "cursor",
    "limit",
    "code",
    "method",
    "outcome",
    "event",
    "after",
    "before",
    "key_id",
    "Prefer",
];

/// The requests of one operation: one for each job where it takes one.
fn attempts(method: &str, path: &str, operation: &Value, owned: &Owned) -> Vec<Attempt> {
    let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
    let mut paths = vec![path.to_owned()];
    let mut query = Vec::new();
    let mut names_by_path = false;
    for parameter in &parameters {
        let (name, place) = (
            parameter["name"].as_str().unwrap(),
            parameter["in"].as_str().unwrap(),
        );
        match (place, name) {
            ("header", _) => {}
            ("path", "photo_id") => paths = vec![path.replace("{photo_id}", "1")],
            ("path", "id") => {
                names_by_path = true;
                let fill = |id: &JobId| path.replace("{id}", &id.to_string());
                paths = owned.jobs.iter().map(fill).collect();
            }
            ("path", "user_id") => {
                names_by_path = true;
                paths = vec![path.replace("{user_id}", &owned.user_id)];
            }
            ("query", "user_id") => query.push(format!("user_id={}", owned.user_id)),
            ("query", "client_id") => query.push(format!("client_id={}", owned.client_id)),
            ("query", name) if HARMLESS.contains(&name) => {}
            _ => panic!("{method} {path}: teach this test what {name} in the {place} names"),
        }
    }
    assert!(
        paths.iter().all(|path| !path.contains('{')),
        "{method} {path}: a parameter is not documented"
    );
    let body = body_schema(operation);
    let names_otherwise = !query.is_empty() || body.is_some_and(|body| !OWN.contains(&body));
    let query = query.join("&");
    let with_query = |path: String| match query.as_str() {
        "" => path,
        query => format!("{path}?{query}"),
    };
    paths
        .into_iter()
        .map(|path| Attempt {
            line: format!("{} {}", method.to_uppercase(), with_query(path)),
            body,
            names_by_path,
            names_otherwise,
        })
        .collect()
}

/// Bodies that name nothing of anybody's: what they do is done for the client itself.
const OWN: [&str; 3] = ["RotateSecret", "StartAuthorisation", "EnableEndpoint"];
/// Every body that this test can write.
const BODIES: [&str; 8] = [
    "JobSubmission",
    "BatchSubmission",
    "BulkReplay",
    "UploadForm",
    "ReplaceForm",
    "RotateSecret",
    "StartAuthorisation",
    "EnableEndpoint",
];

fn body_schema(operation: &Value) -> Option<&'static str> {
    let content = operation["requestBody"]["content"].as_object()?;
    let text = serde_json::to_string(content).unwrap();
    let known = BODIES
        .iter()
        .find(|name| text.contains(&format!("/schemas/{name}\"")));
    Some(known.unwrap_or_else(|| panic!("teach this test to write {text}")))
}

fn request(hub: &Hub, attempt: &Attempt, owned: &Owned) -> reqwest::RequestBuilder {
    let request = hub.request(&attempt.line);
    let job =
        json!({"user_id": owned.user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": "5"}});
    let photo = || {
        let mut jpeg = vec![0xff, 0xd8, 0xff, 0xe0];
        jpeg.resize(2000, 0);
        let part = Part::bytes(jpeg)
            .file_name("a.jpg")
            .mime_str("image/jpeg")
            .unwrap();
        Form::new()
            .text("user_id", owned.user_id.clone())
            .part("photo", part)
    };
    match attempt.body {
        None => request,
        Some("JobSubmission") => request.json(&job),
        Some("BatchSubmission") => request.json(&json!({"jobs": [job]})),
        Some("BulkReplay") => {
            request.json(&json!({"ids": owned.jobs.iter().map(JobId::to_string).collect::<Vec<_>>()}))
        }
        Some("RotateSecret") => request.json(&json!({})),
        Some("StartAuthorisation") => request.json(&json!({"permission": "read"})),
        Some("EnableEndpoint") => request.json(&json!({"url": "https://owner.example/hook"})),
        Some("UploadForm" | "ReplaceForm") => request.multipart(photo()),
        Some(other) => panic!("teach this test to write {other}"),
    }
}

/// Everything that is stored of the owner's.
async fn stored(hub: &Hub, owned: &Owned) -> Vec<Document> {
    let mut all = Vec::new();
    for (collection, filter) in [
        ("jobs", doc! { "client_id": &owned.client_id }),
        ("users", doc! { "_id": &owned.user_id }),
        ("clients", doc! { "_id": &owned.client_id }),
    ] {
        let collection = hub.database.collection::<Document>(collection);
        let found = collection.find(filter).sort(doc! { "_id": 1 }).await.unwrap();
        let documents: Vec<Document> = found.try_collect().await.unwrap();
        assert!(!documents.is_empty(), "{}", collection.name());
        all.extend(documents);
    }
    all
}

/// What a stranger may try at every route that asks for a credential.
fn attempts_at_closed_routes(document: &Value, owned: &Owned) -> Vec<Attempt> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if !operation["security"].is_null() {
                all.extend(attempts(method, path, operation, owned));
            }
        }
    }
    all
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn another_client_gets_nowhere_and_changes_nothing() {
    let mut hub = Hub::start(|_| {}).await;
    let user_id = hub.add_user("delete").await;
    let body = json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5},
        "callback_url": "https://owner.example/hook"});
    let queued = hub.send("POST /api/v1/jobs", &body).await.job_id();
    let running = hub.running_job(&user_id).await;
    let dead = hub.running_job(&user_id).await;
    hub.kill(dead).await;
    let owned = Owned {
        client_id: hub.client_id.clone(),
        user_id,
        jobs: vec![queued, running, dead],
    };
    let before = stored(&hub, &owned).await;
    let scopes: Vec<&str> = ALL_SCOPES.into_iter().chain(["audit:read"]).collect();
    (hub.client_id, hub.api_key) = hub.add_client(&scopes).await;

    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut made = 0;
    for attempt in attempts_at_closed_routes(&document, &owned) {
        let answer = request(&hub, &attempt, &owned).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let line = &attempt.line;
        if attempt.names_by_path {
            assert!(matches!(status, 403 | 404), "{line}: {status} {text}");
        } else if attempt.names_otherwise && status >= 300 {
            assert!(matches!(status, 403 | 404 | 422), "{line}: {status} {text}");
        }
        assert!(status < 500, "{line}: {status} {text}");
        for secret in [&owned.client_id, "owner.example"] {
            assert!(!text.contains(secret), "{line} tells of {secret}: {text}");
        }
        for shown in ["\"params\"", "photo_id", "flickr_unavailable"] {
            assert!(!text.contains(shown), "{line} shows a job: {text}");
        }
        assert_eq!(stored(&hub, &owned).await, before, "{line} changed something");
        made += 1;
    }
    assert!(made >= 30, "{made}");
    assert_eq!(hub.stored_jobs().await, []);
    assert_eq!(hub.users_of_client().await, 0);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn without_a_credential_every_route_that_is_not_open_answers_401() {
    let mut hub = Hub::start(|_| {}).await;
    hub.api_key = "fh_nobody_secret".to_owned();
    let owned = Owned {
        client_id: "nobody".to_owned(),
        user_id: "1@N01".to_owned(),
        jobs: vec![JobId::new()],
    };
    let document = serde_json::to_value(openapi::document()).unwrap();
    for attempt in attempts_at_closed_routes(&document, &owned) {
        let answer = request(&hub, &attempt, &owned).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{}", attempt.line);
        let (method, path) = attempt.line.split_once(' ').unwrap();
        let url = format!("{}{path}", hub.base);
        let answer = hub
            .client
            .request(method.parse().unwrap(), url)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{}", attempt.line);
    }
}
