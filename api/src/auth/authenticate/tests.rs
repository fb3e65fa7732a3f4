use std::collections::HashMap;

use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::fixture::{Directory, SIGNING_SECRET, key};
use super::*;

fn authenticator(directory: &Arc<Directory>) -> Authenticator {
    Authenticator::new(Arc::clone(directory) as Arc<dyn KeyDirectory>)
}

async fn present_from(
    authenticator: &Authenticator,
    key: &str,
    address: &str,
) -> Result<Arc<Caller>, Problem> {
    let key = PresentedKey::from_authorization(&format!("Bearer {key}")).map_err(|_| Problem::Internal)?;
    authenticator
        .authenticate(
            Credential::Bearer(key),
            address.parse().ok(),
            &AuthRecord::default(),
        )
        .await
}

async fn present(authenticator: &Authenticator, key: &str) -> Result<Arc<Caller>, Problem> {
    present_from(authenticator, key, "192.0.2.1").await
}

#[tokio::test]
async fn a_key_that_holds_gives_its_client_with_the_scopes_that_we_know() {
    let caller = present(&authenticator(&Arc::default()), "fh_k1_secret").await;
    assert_eq!(
        caller.map(|caller| (caller.client_id.clone(), caller.scopes.clone())),
        Ok(("client".to_owned(), vec![ScopeName::JobsRead]))
    );
}

#[tokio::test]
async fn a_hot_key_is_looked_up_once() {
    let directory = Arc::new(Directory::default());
    let authenticator = authenticator(&directory);
    for _ in 0..100 {
        assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
    }
    assert_eq!(directory.asked(), 1);
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_key_get_the_same_answer() {
    let authenticator = authenticator(&Arc::default());
    for key in ["fh_k1_wrong", "fh_k2_secret"] {
        assert_eq!(
            present(&authenticator, key).await,
            Err(Problem::Unauthenticated),
            "{key}"
        );
    }
    assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
    assert_eq!(
        present(&authenticator, "fh_k1_wrong").await,
        Err(Problem::Unauthenticated)
    );
}

#[tokio::test]
async fn a_revoked_key_a_lost_scope_and_a_replaced_secret_count_when_the_record_is_read_again() {
    let directory = Arc::new(Directory::default());
    let brief = Duration::from_millis(20);
    let authenticator = Authenticator::with_lifetime(directory.clone(), brief);
    assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
    let change = async |change: fn(&mut StoredKey)| {
        directory.change(|keys| {
            let mut changed = key();
            change(&mut changed);
            keys.insert("k1".to_owned(), changed);
        });
        tokio::time::sleep(brief * 2).await;
        present(&authenticator, "fh_k1_secret").await
    };
    let fewer = change(|key| key.scopes.clear()).await;
    assert_eq!(fewer.map(|caller| caller.scopes.len()), Ok(0));
    let over = change(|key| key.not_after = Some(Timestamp::UNIX_EPOCH)).await;
    assert_eq!(over, Err(Problem::Unauthenticated));
    let replaced = change(|key| key.hash = bcrypt::hash("another", 4).unwrap_or_default()).await;
    assert_eq!(replaced, Err(Problem::Unauthenticated));
    assert!(change(|_| {}).await.is_ok());
    let caller = present(&authenticator, "fh_k1_secret").await;
    directory.change(HashMap::clear);
    tokio::time::sleep(brief * 2).await;
    assert_eq!(
        present(&authenticator, "fh_k1_secret").await,
        Err(Problem::Unauthenticated)
    );
    let still = match caller {
        Ok(caller) => authenticator.still_holds(&caller).await,
        Err(problem) => Err(problem),
    };
    assert_eq!(still, Ok(false));
}

#[tokio::test]
async fn a_flood_of_wrong_secrets_is_not_compared_and_does_not_meet_a_key_at_work() {
    let directory = Arc::new(Directory::default());
    let authenticator = authenticator(&directory);
    assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
    let mut refused = 0;
    for guess in 0..200 {
        let answer = present(&authenticator, &format!("fh_k1_guess{guess}")).await;
        refused += u32::from(matches!(answer, Err(Problem::TooManyFailures { .. })));
    }
    assert!(refused >= 180, "{refused}");
    assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
}

#[tokio::test]
async fn a_flood_of_wrong_secrets_from_one_address_does_not_shut_out_a_key_that_is_new_to_the_process() {
    let authenticator = authenticator(&Arc::default());
    for guess in 0..200 {
        assert!(
            present(&authenticator, &format!("fh_k1_guess{guess}"))
                .await
                .is_err()
        );
    }
    let there = present_from(&authenticator, "fh_k1_secret", "192.0.2.2").await;
    assert!(there.is_ok(), "{there:?}");
}

#[tokio::test]
async fn a_request_that_lasts_ends_when_its_client_loses_a_scope() {
    let directory = Arc::new(Directory::default());
    let brief = Duration::from_millis(20);
    let authenticator = Authenticator::with_lifetime(directory.clone(), brief);
    let caller = present(&authenticator, "fh_k1_secret").await;
    let caller = caller.unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(authenticator.still_holds(&caller).await, Ok(true));
    directory.change(|keys| {
        keys.entry("k1".to_owned())
            .and_modify(|key| key.scopes = vec!["uploads:write".to_owned()]);
    });
    tokio::time::sleep(brief * 2).await;
    assert_eq!(authenticator.still_holds(&caller).await, Ok(false));
}

#[tokio::test]
async fn a_flood_of_unknown_keys_is_not_looked_up() {
    let directory = Arc::new(Directory::default());
    let authenticator = authenticator(&directory);
    for guess in 0..200 {
        assert!(present(&authenticator, &format!("fh_g{guess}_x")).await.is_err());
    }
    assert!(directory.asked() <= 55, "{}", directory.asked());
    assert!(
        present_from(&authenticator, "fh_k1_secret", "192.0.2.2")
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_same_wrong_secret_again_costs_nothing_and_counts_once() {
    let authenticator = authenticator(&Arc::default());
    for _ in 0..200 {
        assert_eq!(
            present(&authenticator, "fh_k1_wrong").await,
            Err(Problem::Unauthenticated)
        );
    }
}

#[tokio::test]
async fn a_client_with_a_list_calls_from_its_networks_only() {
    let directory = Arc::new(Directory::default());
    directory.change(|keys| {
        let allowed_networks = Some("10.0.0.0/8".parse().into_iter().collect());
        keys.insert(
            "k1".to_owned(),
            StoredKey {
                allowed_networks,
                ..key()
            },
        );
    });
    let authenticator = authenticator(&directory);
    for (address, allowed) in [("10.1.2.3", true), ("192.0.2.1", false), ("unknown", false)] {
        let answer = present_from(&authenticator, "fh_k1_secret", address).await;
        assert_eq!(answer.is_ok(), allowed, "{address}");
        assert!(allowed || answer == Err(Problem::AddressNotAllowed), "{address}");
    }
    let wrong = present_from(&authenticator, "fh_k1_wrong", "192.0.2.1").await;
    assert_eq!(
        wrong,
        Err(Problem::Unauthenticated),
        "only who holds the key learns of the list"
    );
}

#[tokio::test]
async fn a_key_has_a_rate_of_its_own() {
    let directory = Arc::new(Directory::default());
    directory.change(|keys| {
        keys.insert(
            "k1".to_owned(),
            StoredKey {
                requests_per_minute: Some(30),
                ..key()
            },
        );
    });
    let authenticator = authenticator(&directory);
    for _ in 0..5 {
        assert!(present(&authenticator, "fh_k1_secret").await.is_ok());
    }
    let answer = present(&authenticator, "fh_k1_secret").await;
    assert!(
        matches!(answer, Err(Problem::KeyRateExceeded { retry_after }) if retry_after <= Duration::from_secs(2))
    );
}

#[tokio::test]
async fn while_the_directory_is_away_nobody_is_let_in() {
    let directory = Arc::new(Directory::default());
    directory.go_away();
    assert_eq!(
        present(&authenticator(&directory), "fh_k1_secret").await,
        Err(Problem::Unavailable)
    );
}

/// A signed `GET /x` with this key id and nonce.
fn signed(key_id: &str, nonce: &str) -> Result<Credential, Problem> {
    let created = Timestamp::now().as_second();
    let params = format!(
        "(\"@method\" \"@authority\" \"@path\" \"@query\");created={created};nonce=\"{nonce}\";keyid=\"{key_id}\""
    );
    let base = format!(
        "\"@method\": GET\n\"@authority\": example.com\n\"@path\": /x\n\"@query\": ?\n\"@signature-params\": {params}"
    );
    let secret = BASE64_STANDARD.decode(SIGNING_SECRET).unwrap_or_default();
    let mac = Hmac::<Sha256>::new_from_slice(&secret).map(|mac| mac.chain_update(base).finalize());
    let signature = mac
        .map(|mac| BASE64_STANDARD.encode(mac.into_bytes()))
        .unwrap_or_default();
    let request = Request::builder()
        .uri("/x")
        .header("Host", "example.com")
        .header("Signature-Input", format!("s={params}"))
        .header("Signature", format!("s=:{signature}:"));
    let (parts, ()) = request.body(()).unwrap_or_default().into_parts();
    Credential::of(&parts, false, "https", created)
}

/// The client that a request with this key id and nonce is signed by.
async fn sign(authenticator: &Authenticator, key_id: &str, nonce: &str) -> Result<String, Problem> {
    let record = AuthRecord::default();
    let answer = authenticator
        .authenticate(signed(key_id, nonce)?, None, &record)
        .await;
    answer.map(|caller| caller.client_id.clone())
}

#[tokio::test]
async fn a_signature_is_accepted_once_and_only_by_a_key_that_signs() {
    let directory = Arc::new(Directory::default());
    directory.change(|keys| {
        keys.insert(
            "k3".to_owned(),
            StoredKey {
                hmac_secret: None,
                ..key()
            },
        );
    });
    let authenticator = authenticator(&directory);
    let ask = async |key_id: &str, nonce: &str| sign(&authenticator, key_id, nonce).await;
    let refused = |fault| Err(Problem::SignatureRefused(fault));
    assert_eq!(ask("k1", "one").await, Ok("client".to_owned()));
    assert_eq!(ask("fh_k1", "two").await, Ok("client".to_owned()));
    assert_eq!(ask("k1", "one").await, refused(SignatureFault::NonceUsed));
    assert_eq!(ask("k2", "three").await, refused(SignatureFault::Mismatch));
    assert_eq!(ask("k3", "four").await, refused(SignatureFault::Mismatch));
    directory.go_away();
    assert_eq!(ask("k1", "five").await, Err(Problem::Unavailable));
}

#[tokio::test]
async fn while_vault_is_away_keys_at_work_go_on_signing_and_others_are_told_to_come_again() {
    let directory = Arc::new(Directory::default());
    directory.change(|keys| {
        keys.insert(
            "k2".to_owned(),
            StoredKey {
                hmac_secret: Some("vault:v1:k2".to_owned()),
                ..key()
            },
        );
    });
    let authenticator = authenticator(&directory);
    let ask = async |key_id: &str, nonce: &str| sign(&authenticator, key_id, nonce).await;
    assert_eq!(ask("k1", "one").await, Ok("client".to_owned()));
    directory.lose_vault();
    assert_eq!(ask("k1", "two").await, Ok("client".to_owned()));
    assert_eq!(ask("k2", "three").await, Err(Problem::Unavailable));
    // Bearer keys need no Vault.
    assert!(present(&authenticator, "fh_k2_secret").await.is_ok());
}
