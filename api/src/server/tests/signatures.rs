//! Signed requests through the whole router.

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use httpsig::prelude::message_component::{HttpMessageComponent, HttpMessageComponentId};
use httpsig::prelude::{AlgorithmName, HttpSigError, HttpSignatureBase, HttpSignatureParams, SharedKey};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Answer, ask_of, state};
use crate::auth::fixture::SIGNING_SECRET;
use crate::state::AppState;

const GOOD: &str = r#"{"user_id":"1@N01","method":"flickr.photos.getInfo","params":{"photo_id":"5"}}"#;

fn digest_of(body: &str) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)))
}

/// A `POST` of JSON with these fields about its signature.
fn request(path: &str, digest: &str, input: String, signature: String, body: &str) -> Request<Body> {
    Request::builder()
        .method("POST")
        .uri(path)
        .header("Host", "hub.example.com")
        .header("Content-Type", "application/json")
        .header("Content-Digest", digest)
        .header("Signature-Input", input)
        .header("Signature", signature)
        .body(Body::from(body.to_owned()))
        .unwrap_or_default()
}

/// A signed `POST` of JSON that is sent with the body `sent`; the signature is of the body `signed`.
fn post(target: &str, nonce: &str, signed: &str, sent: &str) -> Request<Body> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let digest = digest_of(signed);
    let params = format!(
        r#"("@method" "@authority" "@path" "@query" "content-digest");created={};nonce="{nonce}";keyid="writer""#,
        Timestamp::now().as_second()
    );
    let base = format!(
        "\"@method\": POST\n\"@authority\": hub.example.com\n\"@path\": {path}\n\"@query\": ?{query}\n\
         \"content-digest\": {digest}\n\"@signature-params\": {params}"
    );
    let secret = BASE64_STANDARD.decode(SIGNING_SECRET).unwrap_or_default();
    let mac = Hmac::<Sha256>::new_from_slice(&secret).map(|mac| mac.chain_update(base).finalize());
    let signature = mac
        .map(|mac| BASE64_STANDARD.encode(mac.into_bytes()))
        .unwrap_or_default();
    let (input, signature) = (format!("sig={params}"), format!("sig=:{signature}:"));
    request(target, &digest, input, signature, sent)
}

/// The same, signed by a library that knows nothing of ours.
fn post_by_library(target: &str, nonce: &str, body: &str) -> Result<Request<Body>, HttpSigError> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let digest = digest_of(body);
    let values = [
        ("@method", "POST"),
        ("@authority", "hub.example.com"),
        ("@path", path),
        ("@query", &format!("?{query}")),
        ("content-type", "application/json"),
        ("content-digest", &digest),
    ];
    let (mut names, mut components) = (Vec::new(), Vec::new());
    for (name, value) in values {
        let name = HttpMessageComponentId::try_from(format!("\"{name}\"").as_str())?;
        components.push(HttpMessageComponent::try_from((
            &name,
            [value.to_owned()].as_slice(),
        ))?);
        names.push(name);
    }
    let key = SharedKey::from_base64(&AlgorithmName::HmacSha256, SIGNING_SECRET)?;
    let mut params = HttpSignatureParams::try_new(&names)?;
    params
        .set_alg(&AlgorithmName::HmacSha256)
        .set_keyid("writer")
        .set_nonce(nonce);
    let signed = HttpSignatureBase::try_new(&components, &params)?.build_signature_headers(&key, None)?;
    let (input, signature) = (
        signed.signature_input_header_value(),
        signed.signature_header_value(),
    );
    Ok(request(target, &digest, input, signature, body))
}

async fn ask(state: &AppState, request: Request<Body>) -> Answer {
    ask_of(state.clone(), request).await
}

#[tokio::test]
async fn a_signed_request_gets_as_far_as_one_with_a_key() {
    let answer = ask(&state(), post("/api/v1/jobs", "n1", GOOD, GOOD)).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    let answer = ask(
        &state(),
        post("/api/v1/cache/invalidate?method=flickr.x&a=%20b", "n1", "", ""),
    )
    .await;
    assert_eq!((answer.status, answer.code()), (422, "invalid_request"));
}

#[tokio::test]
async fn what_a_library_of_others_signs_is_accepted() -> Result<(), HttpSigError> {
    let state = state();
    let answer = ask(&state, post_by_library("/api/v1/jobs", "n1", GOOD)?).await;
    assert_eq!((answer.status, answer.code()), (503, "unavailable"));
    let target = "/api/v1/cache/invalidate?method=flickr.x&a=%20b";
    let answer = ask(&state, post_by_library(target, "n2", "")?).await;
    assert_eq!((answer.status, answer.code()), (422, "invalid_request"));
    let mut other = post_by_library("/api/v1/jobs", "n3", GOOD)?;
    *other.uri_mut() = axum::http::Uri::from_static("/api/v1/jobs/batch");
    let answer = ask(&state, other).await;
    assert_eq!((answer.status, answer.code()), (401, "signature_refused"));
    Ok(())
}

#[tokio::test]
async fn a_request_is_accepted_once() {
    let state = state();
    assert_eq!(
        ask(&state, post("/api/v1/jobs", "n1", GOOD, GOOD)).await.status,
        503
    );
    let again = ask(&state, post("/api/v1/jobs", "n1", GOOD, GOOD)).await;
    assert_eq!((again.status, again.code()), (401, "signature_refused"));
    assert!(again.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(
        ask(&state, post("/api/v1/jobs", "n2", GOOD, GOOD)).await.status,
        503
    );
}

#[tokio::test]
async fn another_body_is_refused_before_anything_is_done() {
    let changed = GOOD.replace('5', "6");
    let answer = ask(&state(), post("/api/v1/jobs", "n1", GOOD, &changed)).await;
    assert_eq!((answer.status, answer.code()), (400, "content_digest_mismatch"));
}

#[tokio::test]
async fn another_path_is_refused() {
    let mut request = post("/api/v1/jobs", "n1", GOOD, GOOD);
    *request.uri_mut() = axum::http::Uri::from_static("/api/v1/jobs/batch");
    let answer = ask(&state(), request).await;
    assert_eq!((answer.status, answer.code()), (401, "signature_refused"));
}

#[tokio::test]
async fn a_digest_counts_for_bearer_keys_too() {
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Digest", "sha-256=:AAAA:"),
    ];
    let answer = super::ask(super::request("POST /api/v1/jobs", "writer", &headers, GOOD)).await;
    assert_eq!((answer.status, answer.code()), (400, "content_digest_mismatch"));
}
