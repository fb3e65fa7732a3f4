//! The backlog of hubs, asked of their Redis: what workers are scaled by.
//!
//! Every operator process can tell it, whether it leads or not: it needs the hub, the Secret with the password of its Redis,
//! and the Redis. Nothing is watched for it, so a process that is never asked pays nothing. An answer holds for [`KEPT`], so
//! that the autoscalers of the queues of a hub share one look; the hub and the password are read anew every
//! [`ADDRESS_KEPT`], and after a failure.
//!
//! No answer is better than a wrong one: an HPA leaves the number of workers as it is while there is none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flickrhub_job::connection::trust::Trust;
use flickrhub_job::lane::Backlog;
use flickrhub_job::queue::Queue;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use secrecy::SecretString;

use crate::crd::{FlickrHub, QueuesSpec};
use crate::engine::redis::{LookError, look_at_backlogs};
use crate::names::{HubNames, REDIS_PORT};
use crate::pki::AUTHORITIES;

/// For how long an answer holds.
const KEPT: Duration = Duration::from_secs(2);
/// For how long it is not asked again where Redis is and what its password is.
const ADDRESS_KEPT: Duration = Duration::from_mins(1);
/// Hubs that are remembered; more are asked each time.
const MAX_REMEMBERED: usize = 2_000;

/// The backlog of a hub cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// There is no such hub.
    #[error("there is no FlickrHub {name:?} in namespace {namespace:?}")]
    NoHub {
        /// The namespace that was looked in.
        namespace: String,
        /// The name that was looked for.
        name: String,
    },
    /// The Secret with the password of Redis has none.
    #[error("Secret {0:?} has no password of Redis yet")]
    NoPassword(String),
    /// The ConfigMap with the authorities of the hub has none.
    #[error("ConfigMap {0:?} has no certificate authorities yet")]
    NoAuthorities(String),
    /// The Kubernetes API did not answer.
    #[error("the Kubernetes API does not answer: {0}")]
    Kubernetes(#[from] kube::Error),
    /// Redis does not tell.
    #[error(transparent)]
    Redis(#[from] LookError),
}

/// What a hub has to do, by queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubBacklog {
    queues: BTreeMap<Queue, u64>,
}

impl HubBacklog {
    fn new(queues: &QueuesSpec, backlogs: &BTreeMap<Queue, Backlog>) -> Self {
        let jobs = backlogs.iter().map(|(queue, backlog)| {
            let spec = queues.get(*queue);
            (*queue, backlog.jobs(spec.window, spec.concurrency))
        });
        Self {
            queues: jobs.collect(),
        }
    }

    /// The jobs of each queue that workers run or could run.
    pub fn jobs(&self) -> impl Iterator<Item = (Queue, u64)> + '_ {
        self.queues.iter().map(|(queue, jobs)| (*queue, *jobs))
    }

    /// The jobs of a queue that workers run or could run.
    pub fn of(&self, queue: Queue) -> u64 {
        self.queues.get(&queue).copied().unwrap_or_default()
    }
}

/// Where the Redis of a hub is, and what its queues are like.
#[derive(Clone)]
struct Address {
    servers: Vec<String>,
    password: SecretString,
    trust: Trust,
    queues: QueuesSpec,
}

/// What is known of one hub.
#[derive(Default)]
struct Known {
    address: Option<(Instant, Address)>,
    answer: Option<(Instant, HubBacklog)>,
}

type Slot = Arc<tokio::sync::Mutex<Known>>;

/// Tells the backlogs of hubs; clones share what they know.
#[derive(Clone)]
pub struct Backlogs {
    client: Client,
    cluster_domain: Arc<str>,
    slots: Arc<Mutex<HashMap<(String, String), Slot>>>,
}

impl Backlogs {
    /// Reads hubs and Secrets by `client`.
    pub fn new(client: Client, cluster_domain: &str) -> Self {
        Self {
            client,
            cluster_domain: cluster_domain.into(),
            slots: Arc::default(),
        }
    }

    /// The backlog of a hub, at most [`KEPT`] old.
    ///
    /// # Errors
    /// When it cannot be told.
    pub async fn of(&self, namespace: &str, name: &str) -> Result<HubBacklog, BacklogError> {
        let slot = self.slot(namespace, name);
        // Whoever asks at the same time waits for the same answer.
        let mut known = slot.lock().await;
        if let Some((_, answer)) = known.answer.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(answer.clone());
        }
        let was_known = known.address.is_some();
        let mut result = self.look(namespace, name, &mut known).await;
        if was_known && matches!(result, Err(BacklogError::Redis(_))) {
            // The password may have been replaced since it was asked for.
            known.address = None;
            result = self.look(namespace, name, &mut known).await;
        }
        match &result {
            Ok(answer) => known.answer = Some((Instant::now(), answer.clone())),
            Err(error) => {
                *known = Known::default();
                if matches!(error, BacklogError::NoHub { .. }) {
                    self.forget(namespace, name);
                }
            }
        }
        result
    }

    async fn look(&self, namespace: &str, name: &str, known: &mut Known) -> Result<HubBacklog, BacklogError> {
        let fresh = known.address.as_ref();
        let address = if let Some((_, address)) = fresh.filter(|(at, _)| at.elapsed() < ADDRESS_KEPT) {
            address.clone()
        } else {
            let address = self.address(namespace, name).await?;
            known.address = Some((Instant::now(), address.clone()));
            address
        };
        let backlogs = look_at_backlogs(&address.servers, &address.password, &address.trust).await?;
        Ok(HubBacklog::new(&address.queues, &backlogs))
    }

    async fn address(&self, namespace: &str, name: &str) -> Result<Address, BacklogError> {
        let hubs: Api<FlickrHub> = Api::namespaced(self.client.clone(), namespace);
        let hub = hubs.get_opt(name).await?.ok_or_else(|| BacklogError::NoHub {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })?;
        let names = HubNames::new(name, namespace, &*self.cluster_domain);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = secrets.get_opt(&names.redis_auth()).await?;
        let password = secret
            .and_then(|secret| secret.data?.remove("password"))
            .and_then(|password| String::from_utf8(password.0).ok())
            .map(|password| SecretString::from(password.trim()))
            .ok_or_else(|| BacklogError::NoPassword(names.redis_auth()))?;
        let authorities: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let trust = authorities
            .get_opt(&names.trust())
            .await?
            .and_then(|authorities| authorities.data?.remove(AUTHORITIES))
            .and_then(|authorities| Trust::from_pem(authorities).ok())
            .ok_or_else(|| BacklogError::NoAuthorities(names.trust()))?;
        let hosts = names.redis_hosts(hub.spec.redis.replicas).into_iter();
        Ok(Address {
            servers: hosts.map(|host| format!("{host}:{REDIS_PORT}")).collect(),
            password,
            trust,
            queues: hub.spec.queues,
        })
    }

    fn slot(&self, namespace: &str, name: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_REMEMBERED {
            // Those that nobody waits for are only memory.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry((namespace.to_owned(), name.to_owned())).or_default())
    }

    fn forget(&self, namespace: &str, name: &str) {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(namespace.to_owned(), name.to_owned()));
    }
}

/// A backlog of so many jobs in each queue.
#[cfg(test)]
pub(crate) fn fixture(jobs: &[(Queue, u64)]) -> HubBacklog {
    HubBacklog {
        queues: jobs.iter().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_told_by_the_settings_of_each_queue() {
        let mut queues = QueuesSpec::default();
        queues.upload.window = 10;
        let full = Backlog {
            inflight: 10,
            waiting: 90,
            ..Backlog::default()
        };
        let backlog = HubBacklog::new(
            &queues,
            &BTreeMap::from([(Queue::Rest, full), (Queue::Upload, full)]),
        );
        assert_eq!(backlog.of(Queue::Rest), 10);
        assert_eq!(backlog.of(Queue::Upload), 100);
        assert_eq!(backlog.of(Queue::Replace), 0);
    }
}
