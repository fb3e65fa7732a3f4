//! Transit encryption against a real OpenBao.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first thing that is not as expected"
)]

use std::path::Path;

use flickrhub_job::config::Config;
use flickrhub_job::vault::{Component, TransitKey, Vault, VaultError};
use secrecy::{ExposeSecret, SecretString};

async fn vault() -> Vault {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let path = std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names the configuration");
    let config = Config::load(Path::new(&path)).expect("the configuration is valid");
    Vault::connect(&config.vault, Component::Worker)
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
