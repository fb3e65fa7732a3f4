//! A data tier in memory: engines that keep what they were set up with, as real ones do, until they are told of others. Whoever
//! comes with another secret is locked out, and that is noted as a loss. What they say of their members, and who leads, is in
//! `quorum`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use flickrhub_job::config::Login;
use flickrhub_operator::api_client::registry::{
    ClientRegistry, Found, RegistryError, SealedKey, SealedWebhookSecret, Settings,
};
use flickrhub_operator::apply::Live;
use flickrhub_operator::context::Context;
use flickrhub_operator::crd::FlickrHubStatus;
use flickrhub_operator::data_tier::DataTier;
use flickrhub_operator::engine::Size;
use flickrhub_operator::engine::hub_database::ConnectError;
use flickrhub_operator::engine::logins::{Answer, LoginError, Verdict};
use flickrhub_operator::engine::redis::OpenCircuit;
use flickrhub_operator::engine::roster::{Members as _, Roster};
use flickrhub_operator::engine::vault::rotation::RotationReport;
use flickrhub_operator::engine::vault::{self, AccessError, SecretKeyStore};
use flickrhub_operator::part::{Part, PartStatus};
use flickrhub_operator::rolling::{self, Progress};
use flickrhub_operator::secrets::{MongoDbSecrets, RabbitMqSecrets, RedisSecrets, Secrets};
use flickrhub_operator::validate::{ValidatedHub, VaultPlan};
use jiff::Timestamp;
use mongodb::bson::{Bson, DateTime, Document, doc};
use secrecy::{ExposeSecret, SecretString};

use crate::bao::{Bao, Members};
use crate::quorum::{Engine, Quorum};

/// When to look again; nobody waits for it here.
const SOON: std::time::Duration = std::time::Duration::from_secs(1);

/// What the engines hold, which outlives operators and pods.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    /// The members of the engines, by their StatefulSet.
    pub(crate) quorums: BTreeMap<String, Quorum>,
    /// The secrets that each engine accepts, each with whose it is.
    accepted: BTreeMap<String, BTreeSet<String>>,
    /// Whether the engines let no member go.
    pub(crate) every_member_is_needed: bool,
    /// The OpenBao of the hub.
    pub(crate) bao: Bao,
    clients: BTreeMap<String, Document>,
    /// What was lost: there must be nothing.
    pub(crate) losses: BTreeSet<String>,
}

/// The data tier; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Tier(Arc<Mutex<Data>>);

impl Tier {
    /// What the engines hold.
    pub(crate) fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock().expect("nobody panicked with it")
    }

    /// The engine of a set: it starts when all of its pods run, is set up with the secrets that are there then, and lets
    /// nobody in with others.
    fn engine(&self, set: &str, size: Size, was_ready: bool, secrets: &[String]) -> PartStatus {
        let mut data = self.data();
        let quorum = data.quorums.entry(set.to_owned()).or_default();
        let all = usize::try_from(size.wanted).unwrap_or(usize::MAX);
        let enough = if was_ready { all / 2 + 1 } else { all };
        if quorum.running() < enough {
            return PartStatus::waiting("Starting", format!("{set} starts."), SOON);
        }
        quorum.care(size);
        let is_known = data.accepted.contains_key(set);
        let accepted = data.accepted.entry(set.to_owned()).or_default();
        if !is_known {
            accepted.extend(secrets.iter().cloned());
        }
        if !secrets.iter().all(|secret| accepted.contains(secret)) {
            data.losses.insert(format!("{set} accepts other secrets"));
        }
        PartStatus::ready("It runs.")
    }

    /// Takes the operator's own next step of the change of a set.
    async fn advance(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        live: &Live,
        set: &str,
        size: Size,
    ) -> Progress {
        rolling::advance(ctx, hub, live, set, size, &Engine::new(self.clone(), set, size)).await
    }
}

#[async_trait]
impl DataTier for Tier {
    async fn redis(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RedisSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let was_ready = hub.was_ready(flickrhub_operator::part::Part::Redis);
        let set = hub.names.redis();
        let size = Size::of(live, &set, hub.redis.replicas);
        let status = self.engine(&set, size, was_ready, &[secret("default", &secrets.password)]);
        (status, self.advance(ctx, hub, live, &set, size).await)
    }

    async fn open_circuits(&self, _: &ValidatedHub, _: &RedisSecrets) -> Option<Vec<OpenCircuit>> {
        Some(Vec::new())
    }

    async fn mongodb(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &MongoDbSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let was_ready = hub.was_ready(flickrhub_operator::part::Part::MongoDb);
        let of_app = [secret("", &secrets.keyfile), of(&secrets.app)];
        let set = hub.names.mongodb();
        let size = Size::of(live, &set, hub.mongodb.members);
        let status = self.engine(&set, size, was_ready, &of_app);
        // The administrator is given whatever password its Secret has.
        if let Some(accepted) = self.data().accepted.get_mut(&set) {
            accepted.retain(|secret| !secret.starts_with("admin:"));
            accepted.insert(secret("admin", &secrets.admin_password));
        }
        (status, self.advance(ctx, hub, live, &set, size).await)
    }

    async fn rabbitmq(
        &self,
        ctx: &Context,
        hub: &ValidatedHub,
        secrets: &RabbitMqSecrets,
        live: &Live,
    ) -> (PartStatus, Progress) {
        let was_ready = hub.was_ready(flickrhub_operator::part::Part::RabbitMq);
        let secrets = [of(&secrets.login), secret("", &secrets.erlang_cookie)];
        let set = hub.names.rabbitmq();
        let size = Size::of(live, &set, hub.rabbitmq.replicas);
        let status = self.engine(&set, size, was_ready, &secrets);
        (status, self.advance(ctx, hub, live, &set, size).await)
    }

    async fn vault(&self, ctx: &Context, hub: &ValidatedHub, live: &Live) -> (PartStatus, Progress) {
        let VaultPlan::Managed(plan) = &hub.vault else {
            return (PartStatus::ready("It is not ours."), Progress::Idle);
        };
        let desired = vault::Desired::of(hub, plan).expect("addresses");
        let store = SecretKeyStore::of(ctx, hub);
        let set = hub.names.vault();
        let members = Members::new(self.clone(), &set, &desired, store, ctx.saves.clone());
        let status = vault::bring_on(members, &desired).await;
        let size = Size::settled(plan.replicas);
        (status, self.advance(ctx, hub, live, &set, size).await)
    }

    async fn roster(
        &self,
        _: &Context,
        _: &ValidatedHub,
        _: &Secrets,
        live: &Live,
        set: &str,
    ) -> Option<Roster> {
        let size = Size::of(live, set, 0);
        Some(
            Engine::new(self.clone(), set, Size::settled(size.present))
                .roster()
                .await,
        )
    }

    async fn default_client(&self, _: &Context, hub: &ValidatedHub, secrets: &Secrets) -> PartStatus {
        let Ok(client) = &secrets.default_client else {
            return PartStatus::waiting("NoClient", "Its Secret cannot be used.", SOON);
        };
        let key = client.api_key.expose_secret().to_owned();
        let keys = BTreeSet::from([key]);
        self.data().accepted.insert(hub.names.default_client(), keys);
        PartStatus::ready("It is registered.")
    }

    async fn rotate_keys(
        &self,
        _: &Context,
        _: &ValidatedHub,
        _: &MongoDbSecrets,
        _: Option<&FlickrHubStatus>,
    ) -> RotationReport {
        RotationReport {
            keys: Vec::new(),
            holds: true,
            reason: "UpToDate".into(),
            message: "Nothing is due.".to_owned(),
            look_again: None,
            rotated: Vec::new(),
        }
    }

    async fn try_login(
        &self,
        hub: &ValidatedHub,
        _: &Secrets,
        part: Part,
        login: &Login,
        _: &Live,
    ) -> Result<Vec<Answer>, LoginError> {
        let accepts = self
            .data()
            .accepted
            .get(&set(hub, part))
            .is_some_and(|all| all.contains(&of(login)));
        let verdict = if accepts {
            Verdict::Accepted
        } else {
            Verdict::Refused
        };
        Ok(vec![Answer {
            member: set(hub, part),
            verdict,
        }])
    }

    async fn members_use(
        &self,
        _: &ValidatedHub,
        _: &Secrets,
        _: Part,
        _: &Live,
    ) -> Result<Vec<Answer>, LoginError> {
        Ok(Vec::new())
    }

    async fn admit(
        &self,
        hub: &ValidatedHub,
        _: &Secrets,
        part: Part,
        login: &Login,
        _: &Live,
    ) -> Result<(), LoginError> {
        let mut data = self.data();
        data.accepted.entry(set(hub, part)).or_default().insert(of(login));
        Ok(())
    }

    async fn expel(
        &self,
        hub: &ValidatedHub,
        _: &Secrets,
        part: Part,
        login: &Login,
        _: &Live,
    ) -> Result<(), LoginError> {
        let mut data = self.data();
        data.accepted
            .entry(set(hub, part))
            .or_default()
            .remove(&of(login));
        Ok(())
    }

    fn registry(&self, _: &ValidatedHub, _: &Login) -> Result<Box<dyn ClientRegistry>, ConnectError> {
        Ok(Box::new(Clients(self.clone())))
    }

    async fn transit_identity(&self, _: &Context, _: &ValidatedHub) -> Result<String, AccessError> {
        self.data().bao.identity().ok_or(AccessError::NotInitialised)
    }

    async fn encrypt_app_credential(
        &self,
        _: &Context,
        _: &ValidatedHub,
        client: &str,
        _: &SecretString,
    ) -> Result<String, AccessError> {
        Ok(format!("vault:v1:{client}"))
    }
}

/// What an engine accepts, by whose it is.
fn secret(username: &str, password: &SecretString) -> String {
    format!("{username}:{}", password.expose_secret())
}

fn of(login: &Login) -> String {
    secret(&login.username, &login.password)
}

/// The StatefulSet of an engine.
fn set(hub: &ValidatedHub, part: Part) -> String {
    match part {
        Part::Redis => hub.names.redis(),
        Part::MongoDb => hub.names.mongodb(),
        _ => hub.names.rabbitmq(),
    }
}

/// The clients in the database.
struct Clients(Tier);

impl Clients {
    fn change(&self, client: &str, change: impl FnOnce(&mut Document)) {
        if let Some(document) = self.0.data().clients.get_mut(client) {
            change(document);
        }
    }
}

fn keys_of(document: &mut Document) -> &mut Vec<Bson> {
    document.get_array_mut("keys").expect("a client has keys")
}

fn id_of(key: &Bson) -> &str {
    key.as_document()
        .and_then(|key| key.get_str("id").ok())
        .unwrap_or_default()
}

fn time(timestamp: Timestamp) -> DateTime {
    DateTime::from_millis(timestamp.as_millisecond())
}

#[async_trait]
impl ClientRegistry for Clients {
    async fn find(&self, client: &str) -> Result<Found, RegistryError> {
        Ok(Found::new(self.0.data().clients.get(client).cloned()))
    }

    async fn write_settings(
        &self,
        client: &str,
        settings: &Settings,
        webhook_secret: Option<&SealedWebhookSecret>,
        _: Timestamp,
    ) -> Result<(), RegistryError> {
        let mut data = self.0.data();
        let document = data
            .clients
            .entry(client.to_owned())
            .or_insert_with(|| doc! {"_id": client, "made_by": "FlickrHubClient", "keys": []});
        document.insert("scopes", &settings.scopes);
        document.insert("allowed_networks", &settings.networks);
        if let Some(sealed) = webhook_secret {
            document.insert("webhook_secret", &sealed.ciphertext);
            document.insert("webhook_secret_hash", &sealed.hash);
            document.insert("webhook_secret_vault", &sealed.vault);
        }
        Ok(())
    }

    async fn register(&self, client: &str, key: &SealedKey, now: Timestamp) -> Result<(), RegistryError> {
        self.change(client, |document| {
            let keys = keys_of(document);
            keys.retain(|known| id_of(known) != key.id);
            let registered = doc! {
                "id": &key.id,
                "hash": &key.hash,
                "hmac_secret": &key.signing_key,
                "hmac_fingerprint": &key.signing_fingerprint,
                "created_at": time(now),
            };
            keys.push(registered.into());
        });
        Ok(())
    }

    async fn retire(&self, client: &str, ids: &[String], until: Timestamp) -> Result<(), RegistryError> {
        self.change(client, |document| {
            for key in keys_of(document).iter_mut().filter_map(Bson::as_document_mut) {
                let is_meant = key
                    .get_str("id")
                    .is_ok_and(|id| ids.iter().any(|meant| meant == id));
                if is_meant && !key.contains_key("not_after") {
                    key.insert("not_after", time(until));
                }
            }
        });
        Ok(())
    }

    async fn remove(&self, client: &str, ids: &[String], _: Timestamp) -> Result<(), RegistryError> {
        self.change(client, |document| {
            keys_of(document).retain(|key| !ids.iter().any(|id| id == id_of(key)));
        });
        Ok(())
    }

    async fn revoke(&self, client: &str, now: Timestamp) -> Result<(), RegistryError> {
        self.change(client, |document| {
            document.insert("keys", Vec::<Bson>::new());
            document.insert("revoked_at", time(now));
        });
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

impl Data {
    /// The ids of the keys of every client that hold, by the client.
    pub(crate) fn holding_keys(&mut self) -> BTreeMap<String, Vec<String>> {
        let clients = self.clients.iter_mut();
        clients
            .map(|(client, document)| {
                let ids = keys_of(document).iter().map(|key| id_of(key).to_owned());
                (client.clone(), ids.collect())
            })
            .collect()
    }
}
