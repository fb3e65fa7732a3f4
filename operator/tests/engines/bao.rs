//! One OpenBao in memory, with the transit keys and policies of a hub. `FLICKRHUB_TEST_BAO` is the path of `bao`.

use std::time::Duration;

use flickrhub_operator::engine::Standard;
use flickrhub_operator::engine::vault::{Access, Api, Desired, Owner, wanted_settings};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use crate::servers::{Folder, Server, free_ports};

const ROOT: &str = "root-of-the-test";

/// What the hub `gallery` wants of an OpenBao with these members.
pub(crate) fn desired(members: Vec<Url>) -> Desired {
    Desired {
        members,
        hub: "gallery".to_owned(),
        namespace: "photos".to_owned(),
        kubernetes_host: "https://kubernetes.default.svc".to_owned(),
        keys_secret: "gallery-vault-keys".to_owned(),
        trust: None,
        standard: Standard::Complete,
        binds_audience: true,
    }
}

/// A running OpenBao.
pub(crate) struct Bao {
    pub(crate) api: Api,
    pub(crate) address: String,
    pub(crate) client: reqwest::Client,
    _server: Server,
}

impl Bao {
    /// Starts one, and configures it as the operator would for the hub `gallery`, but for logins.
    pub(crate) async fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// The same, with further arguments.
    pub(crate) async fn start_with(folder: &Folder, more: &[&str]) -> Self {
        let program = std::env::var("FLICKRHUB_TEST_BAO").expect("FLICKRHUB_TEST_BAO names the bao program");
        rustls::crypto::ring::default_provider().install_default().ok();
        let [port] = free_ports();
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        let root = format!("-dev-root-token-id={ROOT}");
        let own = ["server", "-dev", "-dev-no-store-token", &listen, &root];
        let arguments = [&own[..], more].concat();
        let server = Server::start(&program, &arguments, folder.path(), "bao");
        let address = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy().build();
        let client = client.expect("a client for plain HTTP can be made");
        let url = address.parse().expect("it is an address");
        let bao = Self {
            api: Api::new(client.clone(), url, None),
            address,
            client,
            _server: server,
        };
        for _ in 0..100 {
            if bao.api.health().await.is_ok_and(|health| !health.sealed) {
                bao.configure().await;
                return bao;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("OpenBao does not start");
    }

    async fn configure(&self) {
        let settings = wanted_settings(&desired(Vec::new())).into_iter();
        for setting in settings.filter(|setting| !setting.write_path.contains("auth/")) {
            self.api
                .write(
                    Some(&root()),
                    setting.method,
                    &setting.write_path,
                    &setting.wanted,
                )
                .await
                .unwrap_or_else(|error| panic!("{}: {error}", setting.name));
        }
    }

    /// As root.
    pub(crate) async fn write(&self, path: &str, content: &Value) -> Value {
        self.api
            .write(Some(&root()), Method::POST, path, content)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As root in a namespace.
    pub(crate) async fn write_in(&self, namespace: &str, path: &str, content: &Value) -> Value {
        self.in_namespace(namespace)
            .write(Some(&root()), Method::POST, path, content)
            .await
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As root in a namespace.
    pub(crate) async fn read_in(&self, namespace: &str, path: &str) -> Value {
        let found = self.in_namespace(namespace).read(&root(), path).await;
        found.expect("an answer").expect("something is there")
    }

    fn in_namespace(&self, namespace: &str) -> Api {
        let url = self.address.parse().expect("it is an address");
        Api::new(self.client.clone(), url, Some(namespace.to_owned()))
    }

    /// As root.
    pub(crate) async fn read(&self, path: &str) -> Value {
        let found = self.api.read(&root(), path).await;
        found.expect("an answer").expect("something is there")
    }

    /// A token as its owner gets it by its login; that of the operator without the policy `default`.
    pub(crate) async fn token_of(&self, owner: Owner) -> SecretString {
        let wanted = json!({
            "policies": [owner.policy_name("gallery")],
            "no_default_policy": owner == Owner::Operator,
        });
        let answer = self.write("auth/token/create", &wanted).await;
        let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
        SecretString::from(token.expect("a token"))
    }

    /// The transit engine, as the operator uses it.
    pub(crate) async fn access(&self) -> Access {
        Access::new(self.api.clone(), self.token_of(Owner::Operator).await, "transit")
    }
}

fn root() -> SecretString {
    SecretString::from(ROOT)
}
