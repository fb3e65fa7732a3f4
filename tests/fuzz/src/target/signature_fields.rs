//! The fields of a signed request (RFC 9421, RFC 9530): whatever they hold, the request is refused or its parts are bounded.
//!
//! Lines of the input: `Signature-Input`, `Signature`, `Content-Digest`, `Authorization`.

use flickrhub_api::auth::signature::{SignedRequest, digest, is_signed};
use flickrhub_api::auth::{Credential, PresentedKey};

use super::request::parts;
use super::texts;

const NOW: i64 = 1_800_000_000;

pub(crate) fn run(input: &[u8]) {
    let [signature_input, signature, content_digest, authorization] = texts(input);
    let mut headers: Vec<(&str, &[u8])> = vec![("host", b"hub.example.com")];
    for (name, value) in [
        ("signature-input", &signature_input),
        ("signature", &signature),
        ("content-digest", &content_digest),
        ("authorization", &authorization),
    ] {
        if !value.is_empty() {
            headers.push((name, value.as_bytes()));
        }
    }
    let Some(parts) = parts("POST", "/api/v1/jobs?a=b", &headers) else {
        return;
    };
    let _ = digest::has_known_digest(&parts.headers);
    let _ = is_signed(&parts.headers);
    for has_body in [false, true] {
        let _ = Credential::of(&parts, has_body, "https", NOW).map(|credential| credential.key_id().len());
    }
    if let Ok(key) = PresentedKey::from_authorization(&authorization) {
        assert!(
            !format!("{key:?}").contains(authorization.trim()),
            "a key shows itself"
        );
    }
    let Ok(signed) = SignedRequest::read(&parts, "https") else {
        return;
    };
    assert!((1..=255).contains(&signed.nonce.len()));
    if signed.check(&parts.headers, true, NOW).is_ok() {
        assert!(signed.created.abs_diff(NOW) <= 300, "{}", signed.created);
        assert!(signed.covered().iter().any(|name| name == "content-digest"));
    }
    assert!(
        !signed.matches(&[0x5a; 32]),
        "the signature of an unknown key holds"
    );
}
