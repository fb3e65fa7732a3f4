//! The API server under the operator, as its administrator sees it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::Failure;
use crate::audit::Audit;
use crate::process::Operator;

/// The field manager of what the bench itself applies.
pub(crate) const MANAGER: &str = "bench";

/// The API server.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) audit: Audit,
    folder: PathBuf,
    program: PathBuf,
}

impl Cluster {
    /// # Errors
    /// When the folder holds no kubeconfig.
    pub(crate) async fn connect(folder: &Path, program: &Path) -> Result<Self, Failure> {
        let kubeconfig = Kubeconfig::read_from(folder.join("admin.kubeconfig"))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self {
            client: Client::try_from(config)?,
            audit: Audit::at(folder.join("audit.log")),
            folder: folder.to_owned(),
            program: program.to_owned(),
        })
    }

    /// Starts an operator, the name of whose log is `name`.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn operator(&self, name: &str) -> Result<Operator, Failure> {
        self.operator_of_version(name, env!("CARGO_PKG_VERSION")).await
    }

    /// The same, for hubs of another version.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn operator_of_version(&self, name: &str, version: &str) -> Result<Operator, Failure> {
        let log = self.folder.join("logs").join(format!("{name}.log"));
        let kubeconfig = self.folder.join("operator.kubeconfig");
        Operator::start(&self.program, &kubeconfig, &log, name, version).await
    }

    /// # Errors
    /// When the API server refuses.
    pub(crate) async fn namespace(&self, name: &str) -> Result<(), Failure> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let params = PatchParams::apply(MANAGER).force();
        api.patch(name, &params, &Patch::Apply(namespace)).await?;
        Ok(())
    }

    /// The objects of a kind in a namespace.
    pub(crate) fn objects(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        if kind.is_namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
        } else {
            Api::all_with(self.client.clone(), &kind.resource())
        }
    }

    /// Applies an object as a person would.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(crate) async fn apply(&self, kind: &Kind, namespace: &str, object: &Value) -> Result<(), Failure> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        let params = PatchParams::apply(MANAGER).force();
        let api = self.objects(kind, namespace);
        api.patch(name.unwrap_or_default(), &params, &Patch::Apply(object))
            .await?;
        Ok(())
    }

    /// Waits until the operator has written nothing for `quiet`, at most five minutes.
    ///
    /// # Errors
    /// When it goes on writing, or the audit log cannot be read.
    pub(crate) async fn settled(&self, quiet: Duration) -> Result<(), Failure> {
        for _ in 0..300_u64.div_ceil(quiet.as_secs().max(1)) {
            let mark = self.audit.mark()?;
            tokio::time::sleep(quiet).await;
            if self.audit.writes_since(mark)?.is_empty() {
                return Ok(());
            }
        }
        Err("the operator goes on writing".into())
    }
}

/// A kind of object, as the API server calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    group: &'static str,
    version: &'static str,
    pub(crate) name: &'static str,
    plural: &'static str,
    is_namespaced: bool,
}

const fn kind(group: &'static str, version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        group,
        version,
        name,
        plural,
        is_namespaced: true,
    }
}

pub(crate) const HUB: Kind = kind("flickrhub.dev", "v1alpha1", "FlickrHub", "flickrhubs");
pub(crate) const SECRET: Kind = kind("", "v1", "Secret", "secrets");
pub(crate) const SERVICE: Kind = kind("", "v1", "Service", "services");

pub(crate) const STATEFUL_SET: Kind = kind("apps", "v1", "StatefulSet", "statefulsets");
pub(crate) const DEPLOYMENT: Kind = kind("apps", "v1", "Deployment", "deployments");

/// Every kind that a hub consists of.
pub(crate) const CHILDREN: [Kind; 11] = [
    kind("", "v1", "ServiceAccount", "serviceaccounts"),
    Kind {
        is_namespaced: false,
        ..kind(
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
        )
    },
    kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    kind("", "v1", "ConfigMap", "configmaps"),
    SERVICE,
    SECRET,
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    STATEFUL_SET,
    DEPLOYMENT,
    kind(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
];

impl Kind {
    fn resource(&self) -> ApiResource {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.name);
        ApiResource::from_gvk_with_plural(&kind, self.plural)
    }
}
