//! What every step of the reconciliation shares.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::Client;
use kube::runtime::events::Recorder;
use tokio_util::task::TaskTracker;

use crate::apply::children::Children;
use crate::autoscaling::{ClusterView, ScaledHubs};
use crate::backlogs::Backlogs;
use crate::certificate_expiry::CertificateExpiry;
use crate::data_tier::{DataTier, OverNetwork};
use crate::external_metrics::ServiceAddress;
use crate::passed::PassedChecks;
use crate::validate::Surroundings;

/// The field manager of every server-side apply of the operator.
pub const FIELD_MANAGER: &str = "flickrhub-operator";

/// The field manager of numbers of workers, which belong to an autoscaler, and of marks on their pods.
pub const SCALE_MANAGER: &str = "flickrhub-operator-scale";

/// Settings of the operator process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster around the hubs.
    pub surroundings: Surroundings,
    /// The namespace to look at; every one if `None`.
    pub namespace: Option<String>,
    /// Hubs that are reconciled at the same time.
    pub concurrency: u16,
    /// The Service behind which the operator serves external metrics; `None` if it does not.
    pub external_metrics: Option<ServiceAddress>,
}

/// What every step of the reconciliation shares.
pub struct Context {
    /// The client of the Kubernetes API for requests, which gives up on an answer that does not come.
    pub client: Client,
    /// The client for watches, which wait for minutes without an answer.
    pub watch_client: Client,
    /// Tasks that hold what exists nowhere else; the process must not end before them.
    pub saves: TaskTracker,
    /// What is known of the children of all hubs without reading them.
    pub children: Children,
    /// Publishes events.
    pub recorder: Recorder,
    /// The engines of every hub.
    pub data_tier: Box<dyn DataTier>,
    /// Settings of the process.
    pub settings: Settings,
    /// Who serves external metrics in the cluster.
    pub cluster: ClusterView,
    /// Tells the backlogs of hubs.
    pub backlogs: Backlogs,
    /// What need not be checked at each look.
    pub passed: PassedChecks,
    /// The hubs whose workers are scaled.
    pub scaled: ScaledHubs,
    /// When the certificates of hubs end.
    pub certificates: CertificateExpiry,
    failures: Mutex<HashMap<String, u32>>,
}

impl Context {
    /// The context of one process.
    pub fn new(client: Client, watch_client: Client, recorder: Recorder, settings: Settings) -> Self {
        Self {
            cluster: ClusterView::new(settings.external_metrics.clone()),
            backlogs: Backlogs::new(client.clone(), &settings.surroundings.cluster_domain),
            passed: PassedChecks::default(),
            scaled: ScaledHubs::default(),
            certificates: CertificateExpiry::default(),
            client,
            watch_client,
            saves: TaskTracker::new(),
            children: Children::default(),
            recorder,
            data_tier: Box::new(OverNetwork),
            settings,
            failures: Mutex::new(HashMap::new()),
        }
    }

    /// The same, with other engines.
    #[must_use]
    pub fn with_data_tier(self, data_tier: impl DataTier + 'static) -> Self {
        Self {
            data_tier: Box::new(data_tier),
            ..self
        }
    }

    /// Counts a failure of the object with this UID and returns how many there were in a row, this one included.
    pub fn failed(&self, uid: &str) -> u32 {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(uid.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Forgets the failures of the object with this UID: it was reconciled, or it is gone.
    pub fn succeeded(&self, uid: &str) {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
    }
}
