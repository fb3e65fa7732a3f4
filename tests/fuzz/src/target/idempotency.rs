//! Keys and payloads of requests that may be sent again.
//!
//! Lines of the input: `Idempotency-Key`, `X-Idempotency-Key`, and the payload.

use axum::http::{HeaderMap, HeaderValue};
use flickrhub_api::idempotency::{IDEMPOTENCY_KEY, IdempotencyKey, X_IDEMPOTENCY_KEY};
use serde_json::Value;

use super::texts;

pub(crate) fn run(input: &[u8]) {
    let [key, other, payload] = texts(input);
    let mut headers = HeaderMap::new();
    for (name, value) in [(IDEMPOTENCY_KEY, key), (X_IDEMPOTENCY_KEY, other)] {
        if let Ok(value) = HeaderValue::from_str(&value)
            && !value.is_empty()
        {
            headers.append(name, value);
        }
    }
    let Ok(Some(key)) = IdempotencyKey::of_headers(&headers) else {
        return;
    };
    let Ok(payload) = serde_json::from_str::<Value>(&payload) else {
        return;
    };
    let stored = key.of_request("acme", &payload);
    assert_eq!((stored.key.len(), stored.payload.len()), (64, 64));
    assert_ne!(
        stored.key,
        key.of_request("other", &payload).key,
        "a key is its client's"
    );
    assert_ne!(stored.key, key.of_item("acme", 0, &payload).key);
    // However it is written, it is the same.
    let written = serde_json::to_string_pretty(&payload).ok();
    let again = written.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let again = again.map(|again| key.of_request("acme", &again));
    assert_eq!(again.map(|again| again.payload), Some(stored.payload));
}
