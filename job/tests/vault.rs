//! Transit encryption against a real OpenBao.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as expected"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use flickrhub_job::config::{Config, VaultAuth, VaultConfig, read_secret};
use flickrhub_job::vault::{Component, TransitKey, Vault, VaultError};
use reqwest::{Certificate, Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

fn config() -> VaultConfig {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names the configuration");
    Config::load(Path::new(&path))
        .expect("the configuration is valid")
        .vault
}

async fn vault() -> Vault {
    Vault::connect(&config(), Component::Worker)
        .await
        .expect("Vault lets us in")
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_secret_is_decrypted_only_with_its_key_and_context() {
    let vault = vault().await;
    vault.ping().await.expect("Vault answers");
    let secret = SecretString::from("72157720 ü token".to_owned());
    let ciphertext = vault
        .encrypt(TransitKey::UserTokens, "1@N01", &secret)
        .await
        .expect("encrypted");
    assert!(ciphertext.starts_with("vault:v"), "{ciphertext}");
    let plain = vault
        .decrypt(TransitKey::UserTokens, "1@N01", &ciphertext)
        .await
        .expect("decrypted");
    assert_eq!(plain.expose_secret(), secret.expose_secret());

    let other_user = vault.decrypt(TransitKey::UserTokens, "2@N01", &ciphertext).await;
    assert!(
        matches!(other_user, Err(VaultError::Ciphertext)),
        "{other_user:?}"
    );
    let other_key = vault
        .decrypt(TransitKey::AppCredentials, "1@N01", &ciphertext)
        .await;
    assert!(matches!(other_key, Err(VaultError::Ciphertext)), "{other_key:?}");
    let garbage = vault
        .decrypt(TransitKey::UserTokens, "1@N01", "no ciphertext")
        .await;
    assert!(matches!(garbage, Err(VaultError::Ciphertext)), "{garbage:?}");
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn the_same_secret_never_gives_the_same_ciphertext() {
    let vault = vault().await;
    let secret = SecretString::from("token".to_owned());
    let first = vault
        .encrypt(TransitKey::AppCredentials, "acme", &secret)
        .await
        .expect("encrypted");
    let second = vault
        .encrypt(TransitKey::AppCredentials, "acme", &secret)
        .await
        .expect("encrypted");
    assert_ne!(first, second);
}

/// What a platform team sets up in a Vault of its own: a namespace with the keys, a policy, and ways to log in.
struct Own {
    http: Client,
    config: VaultConfig,
    root: SecretString,
    namespace: String,
    folder: PathBuf,
}

impl Own {
    async fn set_up() -> Self {
        let config = config();
        let VaultAuth::Token { token_file } = &config.auth else {
            panic!("the tests log in with the root token");
        };
        let authorities = std::fs::read(config.ca_file.as_ref().expect("an authority")).expect("it is there");
        let authorities = Certificate::from_pem_bundle(&authorities).expect("PEM");
        let folder = std::env::temp_dir().join(format!("flickrhub-vault-{}", Uuid::new_v4()));
        std::fs::create_dir(&folder).expect("a folder");
        let own = Self {
            http: Client::builder()
                .tls_certs_only(authorities)
                .build()
                .expect("a client"),
            root: read_secret(token_file).expect("the root token"),
            namespace: format!("team-{}", Uuid::new_v4().simple()),
            config,
            folder,
        };
        let name = &own.namespace;
        own.ask(Method::PUT, "", &format!("sys/namespaces/{name}"), json!({}))
            .await;
        let (mount, users) = (&own.config.transit_mount, &own.config.user_tokens_key);
        let policy = format!(
            "path \"{mount}/encrypt/{users}\" {{ capabilities = [\"update\"] }}\n\
             path \"{mount}/decrypt/{users}\" {{ capabilities = [\"update\"] }}"
        );
        for (path, body) in [
            (format!("sys/mounts/{mount}"), json!({"type": "transit"})),
            (format!("{mount}/keys/{users}"), json!({"derived": true})),
            (
                format!("{mount}/keys/{}", own.config.app_credentials_key),
                json!({"derived": true}),
            ),
            ("sys/policies/acl/worker".to_owned(), json!({"policy": policy})),
            ("sys/auth/machines".to_owned(), json!({"type": "approle"})),
            (
                "auth/machines/role/worker".to_owned(),
                json!({"token_policies": ["worker"]}),
            ),
        ] {
            own.ask(Method::POST, name, &path, body).await;
        }
        own
    }

    /// Asks as root. A member that has not heard of a namespace yet says that nothing handles the path.
    async fn ask(&self, method: Method, namespace: &str, path: &str, body: Value) -> Value {
        for _ in 0..50 {
            let request = self
                .http
                .request(
                    method.clone(),
                    self.config.address.join(&format!("v1/{path}")).expect("a URL"),
                )
                .header("X-Vault-Token", self.root.expose_secret())
                .header("X-Vault-Namespace", namespace)
                .json(&body);
            let answer = request.send().await.expect("OpenBao answers");
            let status = answer.status();
            let body = answer.text().await.expect("a body");
            if status.is_success() {
                return serde_json::from_str(&body).unwrap_or_default();
            }
            let is_early = status == StatusCode::NOT_FOUND && body.contains("no handler for route");
            assert!(is_early, "{path}: {status} {body}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{path}: OpenBao does not know {namespace}")
    }

    fn file(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, value.as_str().expect("text")).expect("written");
        path
    }

    fn with(&self, auth: VaultAuth) -> VaultConfig {
        VaultConfig {
            namespace: Some(self.namespace.clone()),
            auth,
            ..self.config.clone()
        }
    }

    async fn tear_down(self) {
        std::fs::remove_dir_all(&self.folder).expect("removed");
        let path = format!("sys/namespaces/{}", self.namespace);
        self.ask(Method::DELETE, "", &path, json!({})).await;
    }
}

/// Logs in, and stores and reads a token.
async fn works(config: &VaultConfig) -> Result<(), VaultError> {
    let vault = Vault::connect(config, Component::Worker).await?;
    let secret = SecretString::from("token".to_owned());
    let ciphertext = vault.encrypt(TransitKey::UserTokens, "1@N01", &secret).await?;
    let plain = vault
        .decrypt(TransitKey::UserTokens, "1@N01", &ciphertext)
        .await?;
    assert_eq!(plain.expose_secret(), secret.expose_secret());
    let other_key = vault.encrypt(TransitKey::AppCredentials, "1@N01", &secret).await;
    assert!(other_key.is_err(), "the policy does not allow it");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_vault_of_the_users_lets_in_by_role_or_token_in_its_namespace_and_shows_a_certificate_of_its_authority()
 {
    let own = Own::set_up().await;
    let name = own.namespace.clone();
    let role = own
        .ask(Method::GET, &name, "auth/machines/role/worker/role-id", json!({}))
        .await;
    let secret = own
        .ask(
            Method::POST,
            &name,
            "auth/machines/role/worker/secret-id",
            json!({}),
        )
        .await;
    let token = own
        .ask(
            Method::POST,
            &name,
            "auth/token/create",
            json!({"policies": ["worker"]}),
        )
        .await;
    let role_id_file = own.file("role-id", &role["data"]["role_id"]);
    let by_role = |secret_id_file| {
        own.with(VaultAuth::AppRole {
            mount: "machines".to_owned(),
            role_id_file: role_id_file.clone(),
            secret_id_file,
        })
    };
    let role = by_role(own.file("secret-id", &secret["data"]["secret_id"]));
    works(&role).await.expect("by its role");
    let token = own.with(VaultAuth::Token {
        token_file: own.file("token", &token["auth"]["client_token"]),
    });
    works(&token).await.expect("by its token");

    let wrong = by_role(own.file("wrong", &json!(Uuid::new_v4().to_string())));
    assert!(
        matches!(works(&wrong).await, Err(VaultError::Denied)),
        "another secret"
    );
    let elsewhere = VaultConfig {
        namespace: None,
        ..role.clone()
    };
    assert!(
        matches!(works(&elsewhere).await, Err(VaultError::Denied)),
        "another namespace"
    );
    let stranger = VaultConfig {
        ca_file: None,
        ..role
    };
    assert!(works(&stranger).await.is_err(), "public authorities");
    own.tear_down().await;
}
