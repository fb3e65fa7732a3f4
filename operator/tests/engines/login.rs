//! The operator's own way into a Vault of the user's: a real OpenBao behind TLS, with a namespace. `FLICKRHUB_TEST_BAO` is the
//! path of the `bao` program.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flickrhub_operator::context::{Context, Settings};
use flickrhub_operator::crd::FlickrHub;
use flickrhub_operator::engine::vault::{
    AccessError, ApiError, LoginError, Owner, encrypt_app_credential, transit_identity,
};
use flickrhub_operator::pki::Authority;
use flickrhub_operator::validate::{References, Surroundings, ValidatedHub, validate};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use kube::runtime::events::{Recorder, Reporter};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::bao::Bao;
use crate::servers::{Folder, free_ports};

const NAMESPACE: &str = "team";
const PATH: &str = "/api/v1/namespaces/photos/secrets/";

/// The Secrets beside the hub, as the Kubernetes API answers with them.
#[derive(Clone, Default)]
struct Secrets(Arc<Mutex<BTreeMap<String, Value>>>);

impl Secrets {
    fn put(&self, name: &str, entries: &[(&str, &str)]) {
        let data: BTreeMap<&str, String> = entries
            .iter()
            .map(|(key, value)| (*key, STANDARD.encode(value)))
            .collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "photos"}, "data": data,
        });
        let mut secrets = self.0.lock().expect("no holder panicked");
        secrets.insert(name.to_owned(), secret);
    }

    fn answer(&self, request: &Request<Body>) -> Response<Full<Bytes>> {
        let secrets = self.0.lock().expect("no holder panicked");
        let name = request.uri().path().strip_prefix(PATH);
        let (status, body) = match name.and_then(|name| secrets.get(name)) {
            Some(secret) => (StatusCode::OK, secret.clone()),
            None => (
                StatusCode::NOT_FOUND,
                json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound",
                    "message": "not found", "code": 404,
                }),
            ),
        };
        let mut response = Response::new(Full::from(body.to_string()));
        *response.status_mut() = status;
        response
    }

    fn context(&self) -> Context {
        let secrets = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let answer = secrets.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let client = Client::new(service, "photos");
        let reporter = Reporter {
            controller: "flickrhub-operator".to_owned(),
            instance: None,
        };
        let settings = Settings {
            surroundings: surroundings(),
            namespace: None,
            concurrency: 1,
            external_metrics: None,
        };
        let recorder = Recorder::new(client.clone(), reporter);
        Context::new(client.clone(), client, recorder, settings)
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "flickrhub-system".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// What a platform team sets up, and the hub that is told of it.
struct Team {
    bao: Bao,
    address: String,
    authority: String,
    secrets: Secrets,
    context: Context,
}

impl Team {
    async fn set_up(folder: &Folder) -> Self {
        let authority = Authority::generate(&["localhost"], Timestamp::now()).expect("an authority");
        let names = ["localhost".to_owned()];
        let leaf = authority
            .issue("vault", &names, Timestamp::now())
            .expect("issued");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let certificate = file("tls.crt", &leaf.certificate);
        let key = file("tls.key", leaf.key.expose_secret());
        let [port] = free_ports();
        let listener = format!(
            "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = \"{certificate}\"\n  \
             tls_key_file = \"{key}\"\n}}\n"
        );
        let config = format!("-config={}", file("listener.hcl", &listener));
        let bao = Bao::start_with(folder, &[&config]).await;
        bao.write(&format!("sys/namespaces/{NAMESPACE}"), &json!({}))
            .await;
        let key = json!({"type": "aes256-gcm96", "derived": true});
        for (path, content) in [
            ("sys/mounts/transit", json!({"type": "transit"})),
            ("transit/keys/flickrhub-user-tokens", key.clone()),
            ("transit/keys/flickrhub-app-credentials", key),
            (
                "sys/policies/acl/operator",
                json!({"policy": Owner::Operator.policy("transit")}),
            ),
            ("sys/auth/machines", json!({"type": "approle"})),
            (
                "auth/machines/role/gallery",
                json!({"token_policies": ["operator"], "token_ttl": "1h"}),
            ),
        ] {
            bao.write_in(NAMESPACE, path, &content).await;
        }
        let secrets = Secrets::default();
        secrets.put("vault-ca", &[("ca.crt", authority.certificate())]);
        Self {
            bao,
            address: format!("https://localhost:{port}"),
            authority: authority.certificate().to_owned(),
            context: secrets.context(),
            secrets,
        }
    }

    /// A hub that logs in so; `change` is merged into `spec.vault.external`.
    fn hub(&self, auth: &Value, change: &Value) -> ValidatedHub {
        let mut external = json!({
            "address": self.address, "caSecretRef": {"name": "vault-ca"}, "namespace": NAMESPACE, "auth": auth,
        });
        for (field, value) in change.as_object().into_iter().flatten() {
            external[field] = value.clone();
        }
        let hub: FlickrHub = serde_json::from_value(json!({
            "apiVersion": "flickrhub.dev/v1alpha1", "kind": "FlickrHub",
            "metadata": {"name": "gallery", "namespace": "photos", "uid": "1", "generation": 1},
            "spec": {
                "flickr": {"apps": [{"name": "main", "credentialsSecretRef": {"name": "flickr-app"}}]},
                "vault": {"external": external},
            },
        }))
        .expect("a hub");
        validate(&hub, &References::default(), &surroundings()).expect("it is valid")
    }

    /// Encrypts a secret, which takes a login.
    async fn encrypt(&self, hub: &ValidatedHub) -> Result<(), AccessError> {
        let secret = SecretString::from("webhook secret");
        let ciphertext = encrypt_app_credential(&self.context, hub, "acme", &secret).await?;
        assert!(ciphertext.starts_with("vault:v1:"), "{ciphertext}");
        Ok(())
    }

    async fn role_id(&self) -> String {
        let role = self
            .bao
            .read_in(NAMESPACE, "auth/machines/role/gallery/role-id")
            .await;
        text(&role, "/role_id")
    }

    async fn secret_id(&self) -> String {
        let path = "auth/machines/role/gallery/secret-id";
        let made = self.bao.write_in(NAMESPACE, path, &json!({})).await;
        text(&made, "/data/secret_id")
    }

    async fn token(&self) -> String {
        let wanted = json!({"policies": ["operator"]});
        let made = self.bao.write_in(NAMESPACE, "auth/token/create", &wanted).await;
        text(&made, "/auth/client_token")
    }
}

fn text(answer: &Value, path: &str) -> String {
    let found = answer.pointer(path).and_then(Value::as_str);
    found.expect("a text").to_owned()
}

fn by_role() -> Value {
    json!({"appRole": {"mount": "machines", "secretRef": {"name": "vault-approle"}}})
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn the_operator_logs_in_by_role_and_says_what_to_do_when_it_is_refused() {
    let folder = Folder::new("login-role");
    let team = Team::set_up(&folder).await;
    let hub = team.hub(&by_role(), &json!({}));
    let missing = team.encrypt(&hub).await;
    assert!(
        matches!(missing, Err(AccessError::Login(LoginError::Kubernetes(_)))),
        "{missing:?}"
    );

    let (role_id, secret_id) = (team.role_id().await, team.secret_id().await);
    let put = |secret_id: &str| {
        let entries = [("roleId", role_id.as_str()), ("secretId", secret_id)];
        team.secrets.put("vault-approle", &entries);
    };
    // The end of a line comes along with a file.
    put(&format!("{secret_id}\n"));
    team.encrypt(&hub).await.expect("it is let in");
    let identity = transit_identity(&team.context, &hub).await.expect("an answer");
    assert!(identity.ends_with(" team transit"), "{identity}");

    // Every token is revoked that it has had: it logs in anew.
    let prefix = "sys/leases/revoke-prefix/auth/machines/login";
    team.bao.write_in(NAMESPACE, prefix, &json!({})).await;
    team.encrypt(&hub).await.expect("it is let in again");

    let wrong = "00000000-1111-2222-3333-444444444444";
    put(wrong);
    let refused = team.encrypt(&hub).await.expect_err("another secret id");
    assert!(
        matches!(refused, AccessError::Login(LoginError::Refused { .. })),
        "{refused:?}"
    );
    for told in [refused.to_string(), format!("{refused:?}")] {
        for secret in [wrong, &secret_id, &role_id] {
            assert!(!told.contains(secret), "{told}");
        }
    }
    let told = refused.to_string();
    for word in ["vault-approle", "roleId", "secretId", "machines"] {
        assert!(told.contains(word), "{told}");
    }
    put(&secret_id);
    team.encrypt(&hub).await.expect("it is let in by the right one");

    team.secrets.put("vault-approle", &[("roleId", &role_id)]);
    let incomplete = team.encrypt(&hub).await.expect_err("half of it");
    assert!(
        matches!(&incomplete, AccessError::Login(LoginError::Incomplete { secret, key: "secretId" }) if secret == "vault-approle"),
        "{incomplete:?}"
    );
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn only_the_namespace_and_the_authority_that_the_user_named_will_do() {
    let folder = Folder::new("login-place");
    let team = Team::set_up(&folder).await;
    let (role_id, secret_id) = (team.role_id().await, team.secret_id().await);
    let entries = [("roleId", role_id.as_str()), ("secretId", secret_id.as_str())];
    team.secrets.put("vault-approle", &entries);
    let other = Authority::generate(&["localhost"], Timestamp::now()).expect("an authority");
    team.secrets.put("other-ca", &[("ca.crt", other.certificate())]);
    team.secrets.put(
        "both-ca",
        &[("ca.crt", &format!("{}{}", other.certificate(), team.authority))],
    );
    let tried = async |change: Value| team.encrypt(&team.hub(&by_role(), &change)).await;

    let both = tried(json!({"caSecretRef": {"name": "both-ca"}})).await;
    both.expect("one of two authorities");
    for (what, change) in [
        ("another namespace", json!({"namespace": "other"})),
        ("no namespace", json!({"namespace": null})),
        ("another authority", json!({"caSecretRef": {"name": "other-ca"}})),
        ("the public authorities", json!({"caSecretRef": null})),
    ] {
        let outcome = tried(change).await;
        assert!(
            matches!(outcome, Err(AccessError::Login(_))),
            "{what}: {outcome:?}"
        );
    }
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn the_operator_uses_the_token_that_is_in_the_secret_now() {
    let folder = Folder::new("login-token");
    let team = Team::set_up(&folder).await;
    let hub = team.hub(
        &json!({"token": {"secretRef": {"name": "vault-token"}}}),
        &json!({}),
    );
    let token = team.token().await;
    team.secrets.put("vault-token", &[("token", &token)]);
    team.encrypt(&hub).await.expect("the token holds");

    team.bao
        .write_in(NAMESPACE, "auth/token/revoke", &json!({"token": token}))
        .await;
    let revoked = team.encrypt(&hub).await.expect_err("the token holds no more");
    assert!(
        matches!(revoked, AccessError::Vault(ApiError::Forbidden)),
        "{revoked:?}"
    );
    assert!(!format!("{revoked:?} {revoked}").contains(&token), "{revoked}");

    team.secrets.put("vault-token", &[("token", &team.token().await)]);
    team.encrypt(&hub).await.expect("the next token holds");
}
