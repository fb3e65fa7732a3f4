//! Another client of the hub, put into MongoDB for the time of a run: it must see nothing of what the others do.

use flickrhub_e2e::database;
use flickrhub_e2e::gateway::Gateway;
use jiff::Timestamp;
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use reqwest::StatusCode;

use crate::observe;

/// A client that nobody authorised.
pub struct Outsider {
    gateway: Gateway,
    database: Database,
    id: String,
}

impl Outsider {
    /// Makes it.
    pub async fn come(client: &kube::Client, gateway: &Gateway, name: &str) -> Self {
        let database = database::of_the_hub(client).await;
        let hash = bcrypt::hash("outside", 4).expect("a hash");
        let now = DateTime::from_millis(Timestamp::now().as_millisecond());
        // Key ids have letters and digits only.
        let id = format!("outsider{}", name.replace('-', ""));
        let document = doc! {
            "_id": &id,
            "name": "A client that nobody authorised",
            "keys": [{ "id": &id, "hash": hash, "created_at": now }],
            "webhook_secret": "vault:v1:none",
            "scopes": ["jobs:read", "jobs:write"],
            "created_at": now,
        };
        let clients = database.collection::<Document>("clients");
        clients.insert_one(document).await.expect("one more client");
        Self {
            gateway: gateway.with_key(&format!("fh_{id}_outside")),
            database,
            id,
        }
    }

    /// Which of these jobs, or of these users' jobs, it can see.
    pub async fn sees(&self, job_ids: &[String], users: &[String]) -> Vec<String> {
        let known = self.gateway.get("/api/v1/jobs").send().await;
        assert!(
            known.is_ok_and(|answer| answer.status() == StatusCode::OK),
            "the outsider is a client, or its blindness says nothing"
        );
        let mut seen: Vec<_> = observe::read_all(&self.gateway, job_ids)
            .await
            .into_keys()
            .collect();
        for user in users {
            let path = format!("/api/v1/jobs?user_id={user}");
            let answer = self.gateway.get(&path).send().await.expect("an answer");
            let listed: serde_json::Value = answer.json().await.unwrap_or_default();
            let jobs = listed["jobs"].as_array().into_iter().flatten();
            seen.extend(jobs.map(|job| job["job_id"].to_string()));
        }
        seen
    }

    /// Removes it.
    pub async fn leave(self) {
        let clients = self.database.collection::<Document>("clients");
        if let Err(error) = clients.delete_one(doc! { "_id": &self.id }).await {
            eprintln!("the client {} stays: {error}", self.id);
        }
    }
}
