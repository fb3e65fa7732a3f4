//! A user's token is nowhere in MongoDB but as a ciphertext of Vault.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use flickrhub_e2e::{database, scene};
use serde_json::json;

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn a_token_is_stored_encrypted_and_its_plain_text_nowhere() {
    scene::play(|scene| async move {
        let user = scene.authorise("secretive", "read").await;
        // The token has been used: what a worker does with it must leave no trace of it either.
        let job = json!({"user_id": user, "method": "flickr.test.login"});
        let job = scene.gateway.finished(&scene.gateway.submit(job).await).await;
        assert_eq!(job["state"], "succeeded", "{job}");

        let database = database::of_the_hub(&scene.client).await;
        let stored = database::document(&database, "users", &user).await;
        for field in ["token", "token_secret"] {
            let ciphertext = stored.get_str(field).expect("a text");
            assert!(ciphertext.starts_with("vault:v1:"), "{field}");
        }

        let issued = scene.mock.tokens(&user).await;
        assert_eq!(issued.len(), 1, "the mock issued one token");
        for part in ["oauth_token", "oauth_token_secret"] {
            let plain = issued[0][part].as_str().expect("a text");
            assert!(plain.len() >= 16, "long enough not to be found by chance");
            let found = database::collections_with(&database, plain).await;
            assert!(found.is_empty(), "{part} is in {found:?}");
        }
        // The search finds what is there.
        let found = database::collections_with(&database, &user).await;
        assert!(found.contains(&"users".to_owned()), "{found:?}");
    })
    .await;
}
