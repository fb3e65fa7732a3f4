//! A real API server with its etcd, and nothing else: no controllers, no nodes, no pods that run.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flickrhub_operator::crd::definitions;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::config::AuthInfo;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config, ResourceExt as _};
use tokio::time::{Instant, sleep, timeout};

use crate::etcd::Etcd;
use crate::servers::{Folder, Server, free_ports};

/// The token of the one user, who may do everything.
const TOKEN: &str = "convergence";
/// How long both may take to start on a busy machine.
const START: Duration = Duration::from_mins(2);
/// Admission that needs controllers, or changes objects in a way that has nothing to do with the operator.
const WITHOUT_ADMISSION: &str = "ServiceAccount,Priority,DefaultTolerationSeconds,StorageObjectInUseProtection,\
    DefaultStorageClass,RuntimeClass,TaintNodesByCondition,DefaultIngressClass";
/// Admission that lets volumes grow only where their class allows it.
const OF_VOLUMES: &str = "PersistentVolumeClaimResize";

/// The two servers, stopped when the test ends.
pub(crate) struct ControlPlane {
    api_port: u16,
    etcd_port: u16,
    _api: Server,
    _etcd: Server,
    _folder: Folder,
}

impl ControlPlane {
    /// Starts both and installs the definitions of the operator.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_without(name, &format!("{WITHOUT_ADMISSION},{OF_VOLUMES}")).await
    }

    /// The same with storage classes that count.
    pub(crate) async fn start_with_classes(name: &str) -> Self {
        Self::start_without(name, WITHOUT_ADMISSION).await
    }

    async fn start_without(name: &str, admission: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program =
            |variable: &str| std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set"));
        let (etcd, api) = (
            program("FLICKRHUB_TEST_ETCD"),
            program("FLICKRHUB_TEST_APISERVER"),
        );
        let folder = Folder::new(name);
        let [etcd_port, peer_port, api_port] = free_ports();
        let etcd = start_etcd(&etcd, folder.path(), etcd_port, peer_port);
        let api = start_api_server(&api, folder.path(), etcd_port, api_port, admission);
        let plane = Self {
            api_port,
            etcd_port,
            _api: api,
            _etcd: etcd,
            _folder: folder,
        };
        plane.await_ready().await;
        plane.install_definitions().await;
        plane
    }

    /// A client of the API server.
    pub(crate) fn client(&self) -> Client {
        let address = format!("https://127.0.0.1:{}", self.api_port);
        let mut config = Config::new(address.parse().expect("an address"));
        config.accept_invalid_certs = true;
        config.auth_info = AuthInfo {
            token: Some(TOKEN.to_owned().into()),
            ..AuthInfo::default()
        };
        Client::try_from(config).expect("a client")
    }

    /// Its etcd.
    pub(crate) fn etcd(&self) -> Etcd {
        Etcd::new(self.etcd_port)
    }

    async fn await_ready(&self) {
        let started = Instant::now();
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("a request");
            if self
                .client()
                .request_text(request)
                .await
                .is_ok_and(|text| text == "ok")
            {
                return;
            }
            assert!(started.elapsed() < START, "the API server does not become ready");
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn install_definitions(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client());
        for definition in definitions().expect("definitions") {
            let name = definition.name_any();
            let params = PatchParams::apply("convergence").force();
            let applied = api.patch(&name, &params, &Patch::Apply(&definition)).await;
            applied.expect("applied");
            let established = await_condition(api.clone(), &name, conditions::is_crd_established());
            let waited = timeout(START, established).await.expect("in time");
            waited.expect("established");
        }
    }
}

fn start_etcd(program: &str, folder: &Path, client: u16, peer: u16) -> Server {
    let (client, peer) = (
        format!("http://127.0.0.1:{client}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let arguments = [
        // Nothing of it is kept.
        "--unsafe-no-fsync",
        "--data-dir=etcd",
        // A namespace is put back in one transaction.
        "--max-txn-ops=4096",
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
    ];
    Server::start(program, &arguments, folder, "etcd")
}

fn start_api_server(program: &str, folder: &Path, etcd: u16, port: u16, without: &str) -> Server {
    let tokens = format!("{TOKEN},{TOKEN},{TOKEN},\"system:masters\"\n");
    fs::write(folder.join("tokens.csv"), tokens).expect("written");
    let made = Command::new("openssl")
        .args([
            "ecparam",
            "-name",
            "prime256v1",
            "-genkey",
            "-noout",
            "-out",
            "accounts.key",
        ])
        .current_dir(folder)
        .status();
    assert!(made.is_ok_and(|status| status.success()), "openssl makes a key");
    let arguments = [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--cert-dir=certificates",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=AlwaysAllow",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=accounts.key",
        "--service-account-signing-key-file=accounts.key",
        "--endpoint-reconciler-type=none",
        "--enable-priority-and-fairness=false",
        &format!("--disable-admission-plugins={without}"),
        &format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        &format!("--secure-port={port}"),
    ];
    Server::start(program, &arguments, folder, "api-server")
}
