//! What is written for the default client, and when nothing is.

use super::*;

fn desired() -> Desired {
    desired_with("cluster-1  transit")
}

fn desired_with(vault: &str) -> Desired {
    let key = SecretString::from("fh_k1_secret");
    let Some(desired) = Desired::new(&key, &SecretString::from("whsec_a"), vault) else {
        panic!("the key is one");
    };
    desired
}

fn stored_key(hash: &str) -> StoredKey {
    StoredKey {
        id: "k1".to_owned(),
        hash: hash.to_owned(),
        signing_fingerprint: None,
    }
}

fn stored() -> Stored {
    Stored {
        keys: vec![stored_key("hash of secret")],
        fingerprint: Some(desired().fingerprint),
        scopes: BTreeSet::from(SCOPES.map(|scope| scope.name().to_owned())),
        rotated_at: None,
        secret_hash: Some("hash of whsec_a".to_owned()),
        vault: Some(desired().vault),
    }
}

fn change_to(stored: &Stored, desired: &Desired) -> Change {
    let secret = desired.webhook_secret.expose_secret();
    decide(
        Some(stored),
        desired,
        |hash| hash == "hash of secret",
        |hash| hash == format!("hash of {secret}"),
    )
}

fn change(stored: &Stored) -> Change {
    change_to(stored, &desired())
}

#[test]
fn a_document_that_is_current_is_not_written() {
    assert_eq!(change(&stored()), Change::default());
}

#[test]
fn an_absent_document_is_written_in_full() {
    let all = Change {
        key: true,
        webhook_secret: SecretChange::Written,
        scopes: true,
    };
    assert_eq!(decide(None, &desired(), |_| true, |_| true), all);
}

#[test]
fn only_what_differs_is_written() {
    let only_key = Change {
        key: true,
        ..Change::default()
    };
    let other_hash = Stored {
        keys: vec![stored_key("hash of another")],
        ..stored()
    };
    assert_eq!(change(&other_hash), only_key);
    let no_key = Stored {
        keys: Vec::new(),
        ..stored()
    };
    assert_eq!(change(&no_key), only_key);
    let other_secret = Stored {
        fingerprint: None,
        ..stored()
    };
    assert_eq!(change(&other_secret).webhook_secret, SecretChange::Written);
    let fewer_scopes = Stored {
        scopes: BTreeSet::new(),
        ..stored()
    };
    assert!(change(&fewer_scopes).scopes);
}

#[test]
fn a_signing_key_is_written_with_its_key_and_again_when_it_or_the_vault_is_another() {
    let signing = |vault: &str| {
        let key = SecretString::from("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=");
        desired_with(vault).signing_by(&key)
    };
    let Some(wanted) = signing(&desired().vault) else {
        panic!("the key signs");
    };
    let only_key = Change {
        key: true,
        ..Change::default()
    };
    assert_eq!(change_to(&stored(), &wanted), only_key, "it had none");
    let written = Stored {
        keys: vec![StoredKey {
            signing_fingerprint: wanted.signing.as_ref().map(|signing| signing.fingerprint.clone()),
            ..stored_key("hash of secret")
        }],
        ..stored()
    };
    assert_eq!(change_to(&written, &wanted), Change::default());
    assert_eq!(change_to(&written, &desired()), only_key, "it has none any more");
    assert!(signing("cluster-2  transit").is_some_and(|other| change_to(&written, &other).key));
    assert!(desired().signing_by(&SecretString::from("hush")).is_none());
}

#[test]
fn another_vault_takes_a_ciphertext_of_its_own_once() {
    for vault in ["cluster-2  transit", "cluster-1 team transit", "cluster-1  other"] {
        let wanted = desired_with(vault);
        let only_webhook_secret = Change {
            webhook_secret: SecretChange::Written,
            ..Change::default()
        };
        assert_eq!(change_to(&stored(), &wanted), only_webhook_secret, "{vault}");
        let written = Stored {
            fingerprint: Some(wanted.fingerprint.clone()),
            vault: Some(wanted.vault.clone()),
            ..stored()
        };
        assert_eq!(change_to(&written, &wanted), Change::default(), "{vault}");
    }
}

#[test]
fn a_secret_that_the_api_replaced_stays_until_the_secret_or_the_vault_is_another() {
    let rotated = Stored {
        rotated_at: Some(DateTime::from_millis(1)),
        ..stored()
    };
    assert_eq!(change(&rotated), Change::default());

    let with = |key: &str, secret: &str, vault: &str| {
        let (key, secret) = (SecretString::from(key), SecretString::from(secret));
        let Some(wanted) = Desired::new(&key, &secret, vault) else {
            panic!("the key is one");
        };
        change_to(&rotated, &wanted)
    };
    let another_key = with("fh_k2_secret", "whsec_a", &desired().vault);
    let key_and_fingerprint = Change {
        key: true,
        webhook_secret: SecretChange::Fingerprint,
        ..Change::default()
    };
    assert_eq!(another_key, key_and_fingerprint);
    assert_eq!(
        with("fh_k1_secret", "whsec_b", &desired().vault).webhook_secret,
        SecretChange::Written
    );
    assert_eq!(
        with("fh_k1_secret", "whsec_a", "cluster-2  transit").webhook_secret,
        SecretChange::Written
    );
    assert_eq!(
        with("fh_k2_secret", "whsec_b", &desired().vault).webhook_secret,
        SecretChange::Written
    );
}

#[test]
fn a_secret_that_an_older_version_wrote_gets_its_hash_before_it_can_be_replaced() {
    let older = Stored {
        secret_hash: None,
        vault: None,
        ..stored()
    };
    assert_eq!(change(&older).webhook_secret, SecretChange::Written);
    let rotated = Stored {
        rotated_at: Some(DateTime::from_millis(1)),
        ..older
    };
    assert_eq!(change(&rotated), Change::default());
}

#[test]
fn a_key_without_its_three_parts_is_refused() {
    for key in ["fh_k1", "fh__secret", "fh_k1_", "other_k1_secret", ""] {
        assert!(
            Desired::new(&SecretString::from(key), &SecretString::from("w"), "v").is_none(),
            "{key}"
        );
    }
    assert_eq!(desired().key_secret.expose_secret(), "secret");
}

#[test]
fn the_fingerprint_changes_with_either_secret_and_with_the_vault() {
    let of = |key: &str, secret: &str, vault: &str| {
        fingerprint(&SecretString::from(key), &SecretString::from(secret), vault)
    };
    assert_eq!(of("a", "b", "v"), of("a", "b", "v"));
    for other in [
        of("a", "c", "v"),
        of("c", "b", "v"),
        of("a", "b", "w"),
        of("a", "bv", ""),
    ] {
        assert_ne!(of("a", "b", "v"), other);
    }
}

#[test]
fn the_document_is_read_back() {
    let document = doc! {
        "_id": "default",
        "keys": [{ "id": "k1", "hash": "hash of secret", "created_at": DateTime::now() }],
        "webhook_secret": "vault:v1:abc",
        "webhook_secret_fingerprint": desired().fingerprint,
        "webhook_secret_hash": "hash of whsec_a",
        "webhook_secret_vault": desired().vault,
        "webhook_secret_rotated_at": Bson::Null,
        "scopes": SCOPES.map(|scope| Bson::from(scope.name())).to_vec(),
    };
    assert_eq!(read(&document), stored());
}
