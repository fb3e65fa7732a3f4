//! What each component may do in a real OpenBao: its token is tried on every path with every capability and request, and
//! allowed is exactly what the tables here say. They are written down apart from the code that makes the policies.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flickrhub_job::config::{VaultAuth, VaultConfig};
use flickrhub_job::vault::{Component, TransitKey, Vault, VaultError};
use flickrhub_operator::engine::vault::Owner;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::bao::Bao;
use crate::servers::Folder;

const KEYS: [&str; 2] = ["flickrhub-user-tokens", "flickrhub-app-credentials"];

/// Every path with the capabilities of each owner on it; whoever is not named has none.
const CAPABILITIES: [(&str, &[(Owner, &str)]); 11] = [
    ("transit/encrypt/flickrhub-user-tokens", &[(Owner::Api, "update")]),
    (
        "transit/decrypt/flickrhub-user-tokens",
        &[(Owner::Worker, "update")],
    ),
    (
        "transit/encrypt/flickrhub-app-credentials",
        &[(Owner::Api, "update"), (Owner::Operator, "update")],
    ),
    (
        "transit/decrypt/flickrhub-app-credentials",
        &[(Owner::Api, "update"), (Owner::Callbacks, "update")],
    ),
    (
        "transit/rewrap/flickrhub-user-tokens",
        &[(Owner::Operator, "update")],
    ),
    (
        "transit/rewrap/flickrhub-app-credentials",
        &[(Owner::Operator, "update")],
    ),
    ("transit/keys/flickrhub-user-tokens", &[(Owner::Operator, "read")]),
    (
        "transit/keys/flickrhub-app-credentials",
        &[(Owner::Operator, "read")],
    ),
    (
        "transit/keys/flickrhub-user-tokens/rotate",
        &[(Owner::Operator, "update")],
    ),
    (
        "transit/keys/flickrhub-app-credentials/rotate",
        &[(Owner::Operator, "update")],
    ),
    // Both keys' config, see `every_path`.
    (
        "transit/keys/flickrhub-user-tokens/config",
        &[(Owner::Operator, "update")],
    ),
];

/// Below the mount, with `KEY` for each of the keys; then whatever else is worth a try.
const PATHS: [&str; 32] = [
    "transit/encrypt/KEY",
    "transit/decrypt/KEY",
    "transit/rewrap/KEY",
    "transit/datakey/plaintext/KEY",
    "transit/datakey/wrapped/KEY",
    "transit/hmac/KEY",
    "transit/sign/KEY",
    "transit/verify/KEY",
    "transit/keys/KEY",
    "transit/keys/KEY/rotate",
    "transit/keys/KEY/config",
    "transit/keys/KEY/trim",
    "transit/keys/KEY/import",
    "transit/keys/KEY/soft-delete",
    "transit/export/encryption-key/KEY",
    "transit/export/encryption-key/KEY/1",
    "transit/backup/KEY",
    "transit/restore/KEY",
    "transit/keys",
    "transit/keys/another",
    "transit/encrypt/another",
    "transit/decrypt/another",
    "transit/random",
    "transit/cache-config",
    "sys/mounts",
    "sys/mounts/transit",
    "sys/auth",
    "sys/policies/acl/gallery-operator",
    "sys/seal",
    "sys/raw/core",
    "auth/token/create",
    "auth/kubernetes/role/gallery-worker",
];

fn every_path() -> BTreeSet<String> {
    PATHS
        .iter()
        .flat_map(|path| KEYS.map(|key| path.replace("KEY", key)))
        .collect()
}

fn expected(path: &str, owner: Owner) -> &'static str {
    let same = path.replace(
        "keys/flickrhub-app-credentials/config",
        "keys/flickrhub-user-tokens/config",
    );
    let row = CAPABILITIES.iter().find(|(known, _)| *known == same);
    let owners = row.map_or(&[][..], |(_, owners)| owners);
    owners
        .iter()
        .find(|(known, _)| *known == owner)
        .map_or("deny", |(_, capability)| capability)
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn each_component_has_exactly_the_capabilities_of_the_table() {
    let folder = Folder::new("policies");
    let bao = Bao::start(&folder).await;
    let paths = every_path();
    for owner in Owner::ALL {
        let token = bao.token_of(owner).await;
        let asked = json!({ "token": token.expose_secret(), "paths": paths });
        let answer = bao.write("sys/capabilities", &asked).await;
        for path in &paths {
            let found: Vec<&str> = answer["data"][path]
                .as_array()
                .expect("the capabilities")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            assert_eq!(found, [expected(path, owner)], "{owner:?} at {path}");
        }
    }
}

/// A request and who may make it.
struct Attempt {
    method: Method,
    path: String,
    content: Value,
    allowed: &'static [Owner],
}

fn attempt(method: Method, path: &str, content: Value, allowed: &'static [Owner]) -> Attempt {
    Attempt {
        method,
        path: path.to_owned(),
        content,
        allowed,
    }
}

/// The requests that the processes make, and those that would do harm. `ciphertexts` are one of each key.
fn attempts(ciphertexts: &BTreeMap<&str, String>) -> Vec<Attempt> {
    use Owner::{Api, Callbacks, Operator, Worker};
    let [users, apps] = KEYS;
    let context = "MUBOMDE=";
    let plain = json!({ "plaintext": "c2VjcmV0", "context": context });
    let mut attempts = Vec::new();
    for (key, encrypt, decrypt) in [
        (users, &[Api][..], &[Worker][..]),
        (apps, &[Api, Operator], &[Api, Callbacks]),
    ] {
        let sealed = json!({ "ciphertext": ciphertexts[key], "context": context });
        let batch = json!({ "batch_input": [sealed.clone()] });
        let post = |path: &str, content: &Value, allowed| {
            attempt(Method::POST, &format!("transit/{path}"), content.clone(), allowed)
        };
        let get =
            |path: &str, allowed| attempt(Method::GET, &format!("transit/{path}"), Value::Null, allowed);
        attempts.extend([
            post(&format!("encrypt/{key}"), &plain, encrypt),
            post(&format!("decrypt/{key}"), &sealed, decrypt),
            post(&format!("decrypt/{key}"), &batch, decrypt),
            post(&format!("rewrap/{key}"), &sealed, &[Operator]),
            post(&format!("rewrap/{key}"), &batch, &[Operator]),
            post(
                &format!("datakey/plaintext/{key}"),
                &json!({ "context": context }),
                &[],
            ),
            post(&format!("hmac/{key}"), &json!({ "input": "c2VjcmV0" }), &[]),
            get(&format!("keys/{key}"), &[Operator]),
            post(&format!("keys/{key}"), &json!({}), &[]),
            post(&format!("keys/{key}/rotate"), &json!({}), &[Operator]),
            post(
                &format!("keys/{key}/config"),
                &json!({ "min_decryption_version": 1 }),
                &[Operator],
            ),
            post(&format!("keys/{key}/config"), &json!({ "exportable": true }), &[]),
            post(
                &format!("keys/{key}/config"),
                &json!({ "deletion_allowed": true }),
                &[],
            ),
            post(
                &format!("keys/{key}/config"),
                &json!({ "min_decryption_version": 1, "allow_plaintext_backup": true }),
                &[],
            ),
            post(
                &format!("keys/{key}/trim"),
                &json!({ "min_available_version": 1 }),
                &[],
            ),
            attempt(Method::DELETE, &format!("transit/keys/{key}"), Value::Null, &[]),
            get(&format!("export/encryption-key/{key}"), &[]),
            get(&format!("backup/{key}"), &[]),
        ]);
    }
    attempts.extend([
        attempt(Method::GET, "transit/keys?list=true", Value::Null, &[]),
        attempt(Method::GET, "sys/mounts", Value::Null, &[]),
        attempt(Method::GET, "sys/policies/acl/gallery-worker", Value::Null, &[]),
        attempt(
            Method::PUT,
            "sys/policies/acl/gallery-worker",
            json!({ "policy": "path \"*\" { capabilities = [\"read\"] }" }),
            &[],
        ),
        attempt(
            Method::POST,
            "auth/token/create",
            json!({ "policies": ["root"] }),
            &[],
        ),
        // What a process needs to stay logged in, by the policy `default`.
        attempt(
            Method::GET,
            "auth/token/lookup-self",
            Value::Null,
            &[Api, Worker, Callbacks],
        ),
        attempt(
            Method::POST,
            "auth/token/renew-self",
            json!({}),
            &[Api, Worker, Callbacks],
        ),
    ]);
    attempts
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn each_component_is_allowed_exactly_its_requests() {
    let folder = Folder::new("requests");
    let bao = Bao::start(&folder).await;
    let mut ciphertexts = BTreeMap::new();
    for key in KEYS {
        let plain = json!({ "plaintext": "c2VjcmV0", "context": "MUBOMDE=" });
        let answer = bao.write(&format!("transit/encrypt/{key}"), &plain).await;
        let ciphertext = answer.pointer("/data/ciphertext").and_then(Value::as_str);
        ciphertexts.insert(key, ciphertext.expect("a ciphertext").to_owned());
    }
    let attempts = attempts(&ciphertexts);
    for owner in Owner::ALL {
        let token = bao.token_of(owner).await;
        for Attempt {
            method,
            path,
            content,
            allowed,
        } in &attempts
        {
            let mut request = bao
                .client
                .request(method.clone(), format!("{}/v1/{path}", bao.address))
                .header("X-Vault-Token", token.expose_secret());
            if !content.is_null() {
                request = request.json(content);
            }
            let answer = request.send().await.expect("an answer");
            let status = answer.status();
            let what = format!("{owner:?}: {method} {path} {content}: {status}");
            if allowed.contains(&owner) {
                assert!(status.is_success(), "{what}");
            } else {
                assert_eq!(status, 403, "{what}");
            }
        }
    }
}

/// Both parts of a user's token, as a worker asks for them.
#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn a_worker_decrypts_two_ciphertexts_by_one_request_both_or_neither() {
    let folder = Folder::new("pair");
    let bao = Bao::start(&folder).await;
    let [users, apps] = KEYS;
    let token_file = folder.path().join("token");
    let token = bao.token_of(Owner::Worker).await;
    std::fs::write(&token_file, token.expose_secret()).expect("a token");
    let config = VaultConfig {
        address: bao.address.parse().expect("an address"),
        namespace: None,
        ca_file: None,
        auth: VaultAuth::Token { token_file },
        transit_mount: "transit".to_owned(),
        user_tokens_key: users.to_owned(),
        app_credentials_key: apps.to_owned(),
    };
    let vault = Vault::connect(&config, Component::Worker)
        .await
        .expect("a session");
    let encrypt = async |plain: &str, user: &str| {
        let sealed = json!({ "plaintext": STANDARD.encode(plain), "context": STANDARD.encode(user) });
        let answer = bao.write(&format!("transit/encrypt/{users}"), &sealed).await;
        let ciphertext = answer.pointer("/data/ciphertext").and_then(Value::as_str);
        ciphertext.expect("a ciphertext").to_owned()
    };
    let (one, two) = (encrypt("token", "1@N01").await, encrypt("secret", "1@N01").await);
    let other = encrypt("other", "2@N01").await;
    let opened = async |ciphertexts: [&str; 2]| {
        let pair = vault
            .decrypt_pair(TransitKey::UserTokens, "1@N01", ciphertexts)
            .await;
        pair.map(|pair| pair.map(|plain| plain.expose_secret().to_owned()))
    };
    let pair = opened([one.as_str(), two.as_str()]).await.expect("both");
    assert_eq!(pair, ["token".to_owned(), "secret".to_owned()]);
    for wrong in [
        [one.as_str(), other.as_str()],
        [other.as_str(), two.as_str()],
        [other.as_str(), other.as_str()],
        [one.as_str(), "nonsense"],
        ["nonsense", ""],
    ] {
        let error = opened(wrong).await.expect_err("one is of another user, or none");
        assert!(matches!(error, VaultError::Ciphertext), "{wrong:?}: {error:?}");
    }
    let refused = vault
        .decrypt_pair(TransitKey::AppCredentials, "1@N01", [one.as_str(), two.as_str()])
        .await;
    assert!(
        matches!(refused, Err(VaultError::Denied)),
        "a worker has no right to that key"
    );
}
