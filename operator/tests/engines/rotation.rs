//! The rotation of the transit keys with a real OpenBao and a real MongoDB.

use flickrhub_operator::crd::TransitKeyStatus;
use flickrhub_operator::engine::vault::rotation::{HubDatabase, RotationReport, rotate};
use jiff::{SignedDuration, Timestamp};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::bao::Bao;
use crate::database::database;
use crate::servers::Folder;

const USERS: usize = 250;
const DAYS: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Due at once, so that a look rotates.
const NOW: SignedDuration = SignedDuration::ZERO;

async fn seal(bao: &Bao, key: &str, context: &str, plain: &str) -> String {
    let content = json!({ "plaintext": base64(plain), "context": base64(context) });
    let answer = bao.write(&format!("transit/encrypt/{key}"), &content).await;
    let ciphertext = answer.pointer("/data/ciphertext").and_then(Value::as_str);
    ciphertext.expect("a ciphertext").to_owned()
}

async fn open(bao: &Bao, key: &str, context: &str, ciphertext: &str) -> String {
    let content = json!({ "ciphertext": ciphertext, "context": base64(context) });
    let answer = bao.write(&format!("transit/decrypt/{key}"), &content).await;
    let plain = answer.pointer("/data/plaintext").and_then(Value::as_str);
    plain.expect("a plain text").to_owned()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn of<'a>(report: &'a RotationReport, key: &str) -> &'a TransitKeyStatus {
    let found = report.keys.iter().find(|status| status.name == key);
    found.expect("the status has every key")
}

#[tokio::test]
#[ignore = "needs the programs bao and mongod: FLICKRHUB_TEST_BAO, FLICKRHUB_TEST_MONGOD"]
async fn a_rotation_moves_everything_that_is_stored_to_the_new_version() {
    let (tokens, credentials) = ("flickrhub-user-tokens", "flickrhub-app-credentials");
    let folder = Folder::new("rotation");
    let bao = Bao::start(&folder).await;
    let (_mongod, database) = database(&folder).await;
    let mut users = Vec::new();
    for number in 0..USERS {
        let id = format!("{number}@N01");
        users.push(doc! {
            "_id": &id,
            "token": seal(&bao, tokens, &id, &format!("token {number}")).await,
            "token_secret": seal(&bao, tokens, &id, "secret").await,
        });
    }
    let users_of = || database.collection::<Document>("users");
    users_of().insert_many(users).await.expect("users");
    let client = doc! {
        "_id": "acme",
        "webhook_secret": seal(&bao, credentials, "acme", "present").await,
        "previous_webhook_secret": { "ciphertext": seal(&bao, credentials, "acme", "previous").await },
        "keys": [{ "id": "k1" }, { "id": "k2", "hmac_secret": seal(&bao, credentials, "acme", "key").await }],
    };
    let clients = database.collection::<Document>("clients");
    clients.insert_one(client).await.expect("a client");
    let request = doc! {
        "_id": "request", "client_id": "acme",
        "secret": seal(&bao, credentials, "acme", "request secret").await,
    };
    let requests = database.collection::<Document>("oauth_requests");
    requests.insert_one(request).await.expect("a request");

    let (access, stored) = (bao.access().await, HubDatabase::new(database.clone()));
    let fresh = rotate(&access, &stored, &[], DAYS, Timestamp::now()).await;
    assert_eq!(
        (fresh.reason.as_ref(), of(&fresh, tokens).version),
        ("UpToDate", 1),
        "{fresh:?}"
    );

    let mut report = rotate(&access, &stored, &fresh.keys, NOW, Timestamp::now()).await;
    assert_eq!(report.rotated, [tokens, credentials], "{report:?}");
    for _ in 0..20 {
        if of(&report, tokens).remaining == Some(0) && of(&report, credentials).remaining == Some(0) {
            break;
        }
        report = rotate(&access, &stored, &report.keys, DAYS, Timestamp::now()).await;
    }
    assert_eq!(
        (report.reason.as_ref(), of(&report, tokens).version),
        ("Rewrapping", 2),
        "{report:?}"
    );
    let user = users_of().find_one(doc! { "_id": "7@N01" }).await;
    let user = user.expect("an answer").expect("the user");
    let token = user.get_str("token").expect("a token");
    assert!(token.starts_with("vault:v2:"), "{token}");
    assert_eq!(open(&bao, tokens, "7@N01", token).await, base64("token 7"));
    let client = clients
        .find_one(doc! {})
        .await
        .expect("an answer")
        .expect("the client");
    let previous = client
        .get_document("previous_webhook_secret")
        .expect("it is kept");
    let previous = previous.get_str("ciphertext").expect("a ciphertext");
    assert_eq!(
        open(&bao, credentials, "acme", previous).await,
        base64("previous")
    );

    let keys = client.get_array("keys").expect("they are kept");
    let signing = keys[1]
        .as_document()
        .and_then(|key| key.get_str("hmac_secret").ok());
    assert_eq!(
        open(&bao, credentials, "acme", signing.expect("a ciphertext")).await,
        base64("key")
    );

    // Nothing is on its way any more after an hour, and after another one everybody has decrypted what was read.
    let later = |hours: i64| Timestamp::now() + SignedDuration::from_hours(hours);
    let noted = rotate(&access, &stored, &report.keys, DAYS, later(1)).await;
    assert!(of(&noted, tokens).rewrapped_at.is_some(), "{noted:?}");
    let waiting = rotate(&access, &stored, &noted.keys, DAYS, later(1)).await;
    assert_eq!(of(&waiting, tokens).oldest_usable_version, 1, "{waiting:?}");
    let done = rotate(&access, &stored, &waiting.keys, DAYS, later(3)).await;
    for key in [tokens, credentials] {
        assert_eq!(of(&done, key).oldest_usable_version, 2, "{done:?}");
        let key = bao.read(&format!("transit/keys/{key}")).await;
        assert_eq!(key["min_decryption_version"], 2);
    }
    assert_eq!(open(&bao, tokens, "7@N01", token).await, base64("token 7"));
    let rest = rotate(&access, &stored, &done.keys, DAYS, later(3)).await;
    assert_eq!((rest.reason.as_ref(), rest.keys), ("UpToDate", done.keys));
}

#[tokio::test]
#[ignore = "needs the programs bao and mongod: FLICKRHUB_TEST_BAO, FLICKRHUB_TEST_MONGOD"]
async fn a_ciphertext_of_something_else_is_reported_and_keeps_old_versions_usable() {
    let key = "flickrhub-user-tokens";
    let folder = Folder::new("damaged");
    let bao = Bao::start(&folder).await;
    let (_mongod, database) = database(&folder).await;
    let users = database.collection::<Document>("users");
    let good = seal(&bao, key, "1@N01", "token").await;
    let of_another = seal(&bao, key, "2@N01", "token").await;
    let documents = [
        doc! { "_id": "1@N01", "token": &good, "token_secret": &good },
        doc! { "_id": "3@N01", "token": &of_another, "token_secret": "no ciphertext" },
    ];
    users.insert_many(documents).await.expect("users");
    let (access, stored) = (bao.access().await, HubDatabase::new(database.clone()));
    let report = rotate(&access, &stored, &[], NOW, Timestamp::now()).await;
    assert_eq!(
        (report.holds, report.reason.as_ref()),
        (false, "Unreadable"),
        "{report:?}"
    );
    assert_eq!(of(&report, key).remaining, Some(1));
    let good = users
        .find_one(doc! { "_id": "1@N01" })
        .await
        .expect("an answer")
        .expect("the user");
    assert!(
        good.get_str("token")
            .is_ok_and(|token| token.starts_with("vault:v2:")),
        "{good:?}"
    );
    let damaged = users
        .find_one(doc! { "_id": "3@N01" })
        .await
        .expect("an answer")
        .expect("the user");
    assert_eq!(damaged.get_str("token").ok(), Some(of_another.as_str()));
}

#[tokio::test]
#[ignore = "needs the programs bao and mongod: FLICKRHUB_TEST_BAO, FLICKRHUB_TEST_MONGOD"]
async fn a_policy_that_lacks_the_rotation_is_reported() {
    let folder = Folder::new("denied");
    let bao = Bao::start(&folder).await;
    let (_mongod, database) = database(&folder).await;
    let policy = json!({ "policy": "path \"transit/keys/*\" { capabilities = [\"read\"] }" });
    bao.write("sys/policies/acl/gallery-operator", &policy).await;
    let (access, stored) = (bao.access().await, HubDatabase::new(database));
    let report = rotate(&access, &stored, &[], NOW, Timestamp::now()).await;
    assert_eq!(
        (report.holds, report.reason.as_ref()),
        (false, "RotationDenied"),
        "{report:?}"
    );
}
