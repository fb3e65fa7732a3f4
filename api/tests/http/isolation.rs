//! One client cannot see, change or act for what is another's: over every route of the OpenAPI document, so that a new route
//! is covered by being there, or fails this test until it says what it takes. The intruder has every scope, and once `admin`,
//! which is every scope too, of its own client: only the audit log shows an administrator what is about other clients.

use std::time::Duration;

use flickrhub_api::openapi;
use flickrhub_job::callback::TryOutcome;
use flickrhub_job::model::JobId;
use flickrhub_job::store::{Delivery, DeliveryId, DeliveryStore, EndpointStore, time};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use url::Url;

use crate::hub::{ALL_SCOPES, Hub};

/// What is the owner's.
struct Owned {
    client_id: String,
    user_id: String,
    jobs: Vec<JobId>,
    /// A callback address that is disabled, by its id.
    endpoint_id: String,
    /// The request token of an authorisation under way.
    oauth_token: String,
    /// For each list, its path and the cursor of its second page.
    cursors: Vec<(String, String)>,
}

const HOOK: &str = "https://owner.example/hook";
const AUDIT: &str = "GET /api/v1/audit";

impl Owned {
    /// Something of everything that a client can have.
    async fn make(hub: &mut Hub) -> Self {
        let scopes: Vec<&str> = ALL_SCOPES.into_iter().chain(["audit:read"]).collect();
        (hub.client_id, hub.api_key) = hub.add_client(&scopes).await;
        let user_id = hub.add_user("delete").await;
        let body = json!({"user_id": user_id, "method": "flickr.photos.getInfo", "params": {"photo_id": 5},
            "callback_url": HOOK});
        let queued = hub.send("POST /api/v1/jobs", &body).await.job_id();
        let mut jobs = vec![queued, hub.running_job(&user_id).await];
        for _ in 0..2 {
            let dead = hub.running_job(&user_id).await;
            hub.kill(dead).await;
            jobs.push(dead);
        }
        let log = DeliveryStore::open(&hub.database, 30).await.unwrap();
        for attempt in 1..=2 {
            let delivery = Delivery {
                id: DeliveryId::new(),
                client_id: hub.client_id.clone(),
                job_id: queued,
                url: HOOK.to_owned(),
                attempt,
                at: time::now(),
                duration_ms: 20,
                outcome: TryOutcome::Timeout,
                status: None,
                next_at: Some(time::now()),
            };
            log.append(&delivery).await.unwrap();
        }
        let endpoints = EndpointStore::open(&hub.database).await.unwrap();
        for gone in ["https://owner.example/gone", "https://owner.example/gone-too"] {
            let gone = Url::parse(gone).unwrap();
            endpoints.disable(&hub.client_id, &gone, queued).await.unwrap();
        }
        let listed = hub.ask("GET /api/v1/callbacks/endpoints").await;
        let endpoint_id = listed.body["endpoints"][0]["id"].as_str().unwrap().to_owned();
        let started = hub
            .send("POST /api/v1/oauth/start", &json!({"permission": "read"}))
            .await;
        let page = Url::parse(started.body["authorize_url"].as_str().unwrap()).unwrap();
        let oauth_token = page.query_pairs().find(|(name, _)| name == "oauth_token");
        let mut owned = Self {
            client_id: hub.client_id.clone(),
            user_id,
            jobs,
            endpoint_id,
            oauth_token: oauth_token.unwrap().1.into_owned(),
            cursors: Vec::new(),
        };
        owned.cursors = owned.cursors(hub).await;
        owned
    }

    /// The cursors of every list of the document, as its owner gets them.
    async fn cursors(&self, hub: &Hub) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for path in lists(&serde_json::to_value(openapi::document()).unwrap()) {
            let path = path.replace("{id}", &self.jobs[0].to_string());
            all.push((path.clone(), next_cursor(hub, &path).await));
        }
        all
    }
}

/// The paths of the lists that have pages.
fn lists(document: &Value) -> Vec<String> {
    let has_cursor = |operation: &Value| {
        let parameters = operation["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "cursor"))
    };
    let paths = document["paths"].as_object().unwrap().iter();
    let lists: Vec<String> = paths
        .filter(|(_, operations)| has_cursor(&operations["get"]))
        .map(|(path, _)| path.clone())
        .collect();
    assert!(lists.len() >= 5, "{lists:?}");
    lists
}

/// The cursor of the second page, once there is one: what is written beside requests is written a little later.
async fn next_cursor(hub: &Hub, path: &str) -> String {
    for _ in 0..50 {
        let page = hub.ask(&format!("GET {path}?limit=1")).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        if let Some(cursor) = page.body["next_cursor"].as_str() {
            return cursor.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{path} has no second page");
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
const OWN: [&str; 2] = ["RotateSecret", "StartAuthorisation"];
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
        Some("EnableEndpoint") => request.json(&json!({"id": owned.endpoint_id})),
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
        ("oauth_requests", doc! { "client_id": &owned.client_id }),
        ("callback_deliveries", doc! { "client_id": &owned.client_id }),
        ("callback_endpoints", doc! { "client_id": &owned.client_id }),
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
    let owned = Owned::make(&mut hub).await;
    let every_scope = ALL_SCOPES.into_iter().chain(["audit:read"]).collect();
    for scopes in [every_scope, vec!["admin"]] {
        (hub.client_id, hub.api_key) = hub.add_client(&scopes).await;
        nothing_of_the_owners_is_met(&hub, &owned, scopes == ["admin"]).await;
        no_cursor_leads_to_the_owners(&hub, &owned, scopes == ["admin"]).await;
    }
}

/// Every request that the hub's client can make which names what is the owner's.
async fn nothing_of_the_owners_is_met(hub: &Hub, owned: &Owned, is_admin: bool) {
    let before = stored(hub, owned).await;
    let document = serde_json::to_value(openapi::document()).unwrap();
    let mut made = 0;
    for attempt in attempts_at_closed_routes(&document, owned) {
        let answer = request(hub, &attempt, owned).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let line = &attempt.line;
        for secret in ["owner.example", &owned.oauth_token] {
            assert!(!text.contains(secret), "{line} tells of {secret}: {text}");
        }
        if is_admin && line.starts_with(AUDIT) {
            assert_eq!(status, 200, "{line}: {text}");
            continue;
        }
        if attempt.names_by_path {
            assert!(matches!(status, 403 | 404), "{line}: {status} {text}");
        } else if attempt.names_otherwise && status >= 300 {
            assert!(matches!(status, 403 | 404 | 422), "{line}: {status} {text}");
        }
        assert!(status < 500, "{line}: {status} {text}");
        assert!(
            !text.contains(&owned.client_id),
            "{line} tells of the client: {text}"
        );
        for shown in ["\"params\"", "photo_id", "flickr_unavailable"] {
            assert!(!text.contains(shown), "{line} shows a job: {text}");
        }
        assert_eq!(stored(hub, owned).await, before, "{line} changed something");
        made += 1;
    }
    assert!(made >= 30, "{made}");
    assert_eq!(hub.stored_jobs().await, []);
    assert_eq!(hub.users_of_client().await, 0);
}

/// Cursors name a place and give no right: with those of the owner, the hub's client sees what it would see without.
async fn no_cursor_leads_to_the_owners(hub: &Hub, owned: &Owned, is_admin: bool) {
    let (client_id, user_id) = (&owned.client_id, &owned.user_id);
    for (path, cursor) in &owned.cursors {
        for more in [
            String::new(),
            format!("&user_id={user_id}"),
            format!("&client_id={client_id}"),
        ] {
            let line = format!("GET {path}?cursor={cursor}{more}");
            let answer = hub.request(&line).send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            assert!(matches!(status, 200 | 403 | 404 | 422), "{line}: {status} {text}");
            assert!(!text.contains("owner.example"), "{line}: {text}");
            if is_admin && line.starts_with(AUDIT) {
                continue;
            }
            assert!(!text.contains(client_id), "{line}: {text}");
            // The path may name one; then nothing is there.
            let of_a_job = owned.jobs.iter().any(|id| path.contains(&id.to_string()));
            assert!(
                !of_a_job || status == 404 || status == 422,
                "{line}: {status} {text}"
            );
            for id in &owned.jobs {
                assert!(!text.contains(&id.to_string()), "{line}: {text}");
            }
        }
    }
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
        endpoint_id: "0".repeat(64),
        oauth_token: "none".to_owned(),
        cursors: Vec::new(),
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
