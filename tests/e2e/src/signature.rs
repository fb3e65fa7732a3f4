//! Signed requests (RFC 9421, `hmac-sha256`), made by hand from docs/authentication.md: nothing of the code under test.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::scene::unique;

/// The headers `Signature-Input` and `Signature` of a `GET` of this path, without a query, at this authority.
/// `signing_key`: as it stands in the Secret.
pub fn of_get(authority: &str, path: &str, key_id: &str, signing_key: &str) -> [(&'static str, String); 2] {
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let params = format!(
        r#"("@method" "@authority" "@path" "@query");created={created};nonce="{}";keyid="{key_id}";alg="hmac-sha256""#,
        unique("n")
    );
    let base = format!(
        "\"@method\": GET\n\"@authority\": {authority}\n\"@path\": {path}\n\"@query\": ?\n\"@signature-params\": {params}"
    );
    let key = BASE64_STANDARD.decode(signing_key).expect("base64");
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
    let signature = BASE64_STANDARD.encode(mac.chain_update(base).finalize().into_bytes());
    [
        ("Signature-Input", format!("sig1={params}")),
        ("Signature", format!("sig1=:{signature}:")),
    ]
}
