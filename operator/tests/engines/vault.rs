//! The vault step against a real OpenBao of three members. `FLICKRHUB_TEST_BAO` is the path of the `bao` program.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bao::desired;
use crate::servers::{Folder, Server, free_ports, until_ready};
use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::vault::{Api, KeyRecord, KeyStore, KeyStoreError, Keys, reconcile_desired};
use secrecy::ExposeSecret as _;
use tokio_util::task::TaskTracker;
use url::Url;

/// Keeps the keys in memory.
#[derive(Clone)]
struct MemoryKeys(Arc<Mutex<KeyRecord>>);

impl MemoryKeys {
    fn set(&self, record: KeyRecord) {
        *self.0.lock().expect("no holder panicked") = record;
    }

    fn get(&self) -> KeyRecord {
        self.0.lock().expect("no holder panicked").clone()
    }
}

impl KeyStore for MemoryKeys {
    async fn load(&self) -> Result<KeyRecord, KeyStoreError> {
        Ok(self.get())
    }

    async fn record_intent(&self) -> Result<(), KeyStoreError> {
        self.set(KeyRecord::Intended);
        Ok(())
    }

    async fn save(&self, keys: &Keys) -> Result<(), KeyStoreError> {
        self.set(KeyRecord::Stored(keys.clone()));
        Ok(())
    }
}

fn settings(folder: &Folder, ports: &[u16], member: usize) -> String {
    let data = folder.subfolder(&format!("data-{member}"));
    let (port, cluster) = (ports[2 * member], ports[2 * member + 1]);
    let mut settings = format!(
        "storage \"raft\" {{\n  path = {:?}\n  node_id = \"member-{member}\"\n",
        data.display().to_string()
    );
    for other in (0..3).filter(|&other| other != member) {
        let address = format!("http://127.0.0.1:{}", ports[2 * other]);
        let _ = writeln!(
            settings,
            "  retry_join {{\n    leader_api_addr = \"{address}\"\n  }}"
        );
    }
    let _ = write!(
        settings,
        "}}\nlistener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  cluster_address = \"127.0.0.1:{cluster}\"\n  \
         tls_disable = true\n}}\napi_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \
         \"https://127.0.0.1:{cluster}\"\n"
    );
    settings
}

/// OpenBao lets a new member vote once it was healthy for ten seconds (autopilot's `server_stabilization_time`); the loss
/// of the first member before that is the loss of the majority.
async fn until_all_vote(member: &Url, root_token: &str) {
    let address = member
        .join("v1/sys/storage/raft/configuration")
        .expect("an address");
    for _ in 0..60 {
        let request = reqwest::Client::new().get(address.clone());
        let answer = request
            .header("X-Vault-Token", root_token)
            .send()
            .await
            .expect("an answer");
        let answer: serde_json::Value = answer.json().await.expect("JSON");
        let servers = answer["data"]["config"]["servers"]
            .as_array()
            .expect("a list of servers");
        if servers.iter().filter(|server| server["voter"] == true).count() == 3 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("not every member votes after a minute");
}

/// Runs a program with the files that a pod has of its service account: OpenBao reads the authority of Kubernetes there.
/// They are seen by this program alone.
const AS_IN_A_POD: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount \
    && cd /run/secrets/kubernetes.io/serviceaccount && echo none >token \
    && openssl req -x509 -newkey ed25519 -nodes -subj /CN=kubernetes -keyout /dev/null -out ca.crt \
    && cd / && exec \"$0\" \"$@\"";

#[tokio::test]
#[ignore = "needs the bao program, openssl and root: FLICKRHUB_TEST_BAO"]
async fn blank_members_become_an_unsealed_and_configured_openbao_that_survives_a_restart() {
    let program = std::env::var("FLICKRHUB_TEST_BAO").expect("FLICKRHUB_TEST_BAO names the bao program");
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = Folder::new("vault");
    let ports = free_ports::<6>();
    let start = |member: usize| {
        let file = folder.path().join(format!("member-{member}.hcl"));
        std::fs::write(&file, settings(&folder, &ports, member)).expect("the settings can be written");
        let argument = format!("-config={}", file.display());
        Server::start(
            "unshare",
            &["--mount", "sh", "-c", AS_IN_A_POD, &program, "server", &argument],
            folder.path(),
            &format!("member-{member}"),
        )
    };
    let mut members = [start(0), start(1), start(2)];
    let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build();
    let client = client.expect("a client for plain HTTP can be made");
    let saves = TaskTracker::new();
    let keys = MemoryKeys(Arc::new(Mutex::new(KeyRecord::Absent)));
    let addresses = (0..3).map(|member| {
        format!("http://127.0.0.1:{}", ports[2 * member])
            .parse()
            .expect("it is an address")
    });
    let mut desired = desired(addresses.collect());
    let status = until_ready(async || reconcile_desired(&desired, keys.clone(), &saves).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);
    let KeyRecord::Stored(stored) = keys.get() else {
        panic!("the keys are stored");
    };
    until_all_vote(&desired.members[0], stored.root_token.expose_secret()).await;
    let mut clusters = BTreeSet::new();
    for address in &desired.members {
        let api = Api::new(client.clone(), address.clone(), None);
        clusters.insert(api.cluster_id().await.expect("every unsealed member knows it"));
    }
    assert_eq!(clusters.len(), 1, "{clusters:?}");

    desired.standard = Standard::Serving;
    members[0].kill();
    let status = until_ready(async || reconcile_desired(&desired, keys.clone(), &saves).await).await;
    assert_eq!(status.reason, "Degraded", "{}", status.message);

    members[0] = start(0);
    desired.standard = Standard::Complete;
    let status = until_ready(async || reconcile_desired(&desired, keys.clone(), &saves).await).await;
    assert_eq!(status.reason, "Ready", "{}", status.message);

    keys.set(KeyRecord::Absent);
    let status = reconcile_desired(&desired, keys.clone(), &saves).await;
    assert_eq!(
        (status.reason, status.stalled),
        ("SecretLost", true),
        "{}",
        status.message
    );
}
