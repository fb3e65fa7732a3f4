//! RFC 9421's own vector, and each way to refuse.

use axum::http::Request;
use axum::http::request::Parts;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::super::fixture::SIGNING_SECRET;
use super::*;

const CREATED: i64 = 1_618_884_473;
const ALL: &str = r#"("@method" "@authority" "@path" "@query" "content-digest")"#;
const PARAMS: &str = r#";created=1618884473;nonce="n1";keyid="k1""#;

fn secret() -> Vec<u8> {
    BASE64_STANDARD.decode(SIGNING_SECRET).unwrap_or_default()
}

/// The test request of appendix B.2, with these fields beside its own.
fn parts(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder()
        .method("POST")
        .uri("/foo?param=Value&Pet=dog")
        .header("Host", "Example.com:443")
        .header("Date", "Tue, 20 Apr 2021 02:07:55 GMT")
        .header("Content-Type", "application/json")
        .header("Content-Digest", "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:")
        .header("Content-Length", "18");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap_or_default().into_parts().0
}

/// A request whose signature, by the secret of the appendix, has this input.
fn signed(input: &str) -> Parts {
    let placeholder = [
        ("Signature-Input", format!("s={input}")),
        ("Signature", "s=:AA==:".to_owned()),
    ];
    let placeholder = placeholder
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let base = SignedRequest::read(&parts(&placeholder), "https").map(|read| read.base);
    let mac = Hmac::<Sha256>::new_from_slice(&secret()).map(|mac| mac.chain_update(base.unwrap_or_default()));
    let signature = mac.map(|mac| BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let signature = format!("s=:{}:", signature.unwrap_or_default());
    parts(&[placeholder[0], ("Signature", &signature)])
}

fn fault(input: &str) -> Result<(), SignatureFault> {
    let parts = signed(input);
    let read = SignedRequest::read(&parts, "https")?;
    read.check(&parts.headers, true, CREATED)?;
    assert!(read.matches(&secret()), "{input}");
    Ok(())
}

#[test]
fn the_base_and_signature_of_appendix_b_2_5_are_ours() {
    let covered = r#"("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    let input = format!("sig-b25={covered}");
    let parts = parts(&[
        ("Signature-Input", &input),
        (
            "Signature",
            "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
        ),
    ]);
    // The appendix has no nonce, which the hub insists on.
    assert_eq!(
        SignedRequest::read(&parts, "https").err(),
        Some(SignatureFault::Missing("nonce"))
    );
    let list: sfv::List = sfv::Parser::new(covered).parse().unwrap_or_default();
    let Some(sfv::ListEntry::InnerList(list)) = list.first() else {
        panic!("no inner list");
    };
    let base = base::base(&parts, "https", list).unwrap_or_default();
    let expected = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\"@authority\": example.com\n\
        \"content-type\": application/json\n\"@signature-params\": (\"date\" \"@authority\" \"content-type\")\
        ;created=1618884473;keyid=\"test-shared-secret\"";
    assert_eq!(base, expected);
    let signature = BASE64_STANDARD.decode("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=");
    let request = SignedRequest {
        key_id: "test-shared-secret".to_owned(),
        nonce: String::new(),
        created: CREATED,
        expires: None,
        covered: Vec::new(),
        signature: signature.unwrap_or_default(),
        base,
    };
    assert!(request.matches(&secret()));
    assert!(!request.matches(&secret()[1..]));
}

#[test]
fn a_signature_over_everything_that_it_must_cover_is_accepted() {
    assert_eq!(fault(&format!("{ALL}{PARAMS}")), Ok(()));
    assert_eq!(
        fault(&format!("{ALL}{PARAMS};alg=\"hmac-sha256\";tag=\"app\"")),
        Ok(())
    );
    let wide = r#"("@request-target" "@query" "@path" "@authority" "@method" "content-digest" "content-type" "date")"#;
    assert_eq!(fault(&format!("{wide}{PARAMS}")), Ok(()));
}

#[test]
fn each_component_must_be_covered() {
    for name in ["@method", "@authority", "@path", "@query", "content-digest"] {
        let covered = ALL.replace(&format!("\"{name}\""), "");
        assert_eq!(
            fault(&format!("{covered}{PARAMS}")),
            Err(SignatureFault::NotCovered(name))
        );
    }
}

#[test]
fn a_component_that_is_unknown_absent_or_named_twice_is_refused() {
    for more in ["@status", "x-absent", "Date", "@method", "a b"] {
        let covered = ALL.replace(')', &format!(" \"{more}\")"));
        assert_eq!(
            fault(&format!("{covered}{PARAMS}")),
            Err(SignatureFault::Component),
            "{more}"
        );
    }
    let covered = ALL.replace(')', " \"date\";bs)");
    assert_eq!(
        fault(&format!("{covered}{PARAMS}")),
        Err(SignatureFault::Component)
    );
}

#[test]
fn each_parameter_must_be_there() {
    for (name, param) in [
        ("created", ";created=1618884473"),
        ("nonce", ";nonce=\"n1\""),
        ("keyid", ";keyid=\"k1\""),
    ] {
        let params = PARAMS.replace(param, "");
        assert_eq!(
            fault(&format!("{ALL}{params}")),
            Err(SignatureFault::Missing(name))
        );
    }
    assert_eq!(
        fault(&format!("{ALL}{PARAMS};alg=\"rsa-v1_5-sha256\"")),
        Err(SignatureFault::Algorithm)
    );
}

#[test]
fn a_signature_holds_300_seconds_either_way_and_not_longer_than_it_says() {
    let parts = signed(&format!("{ALL}{PARAMS}"));
    let read = SignedRequest::read(&parts, "https");
    for (offset, holds) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        let check = read
            .as_ref()
            .map(|read| read.check(&parts.headers, true, CREATED + offset));
        assert_eq!(check.ok().map(|check| check.is_ok()), Some(holds), "{offset}");
    }
    let expired = format!("{ALL}{PARAMS};expires={CREATED}");
    assert_eq!(fault(&expired), Err(SignatureFault::NotFresh));
    assert_eq!(fault(&format!("{ALL}{PARAMS};expires={}", CREATED + 1)), Ok(()));
}

#[test]
fn a_changed_request_does_not_match() {
    let original = signed(&format!("{ALL}{PARAMS}"));
    let matches = |parts: &Parts| SignedRequest::read(parts, "https").map(|read| read.matches(&secret()));
    assert_eq!(matches(&original), Ok(true));
    let change = |change: fn(&mut Parts)| {
        let mut parts = original.clone();
        change(&mut parts);
        matches(&parts)
    };
    assert_eq!(change(|parts| parts.method = axum::http::Method::PUT), Ok(false));
    for uri in ["/foo?param=Value&Pet=cat", "/fo?param=Value&Pet=dog", "/foo"] {
        let mut parts = original.clone();
        parts.uri = uri.parse().unwrap_or_default();
        assert_eq!(matches(&parts), Ok(false), "{uri}");
    }
    assert_eq!(
        change(|parts| {
            parts
                .headers
                .insert("host", axum::http::HeaderValue::from_static("example.org"));
        }),
        Ok(false)
    );
}

#[test]
fn fields_that_are_no_structured_fields_are_refused() {
    for (input, signature) in [
        ("s", "s=:AA==:"),
        ("s=(", "s=:AA==:"),
        (&format!("s={ALL}{PARAMS}"), "other=:AA==:"),
        (&format!("s={ALL}{PARAMS}"), "s=\"AA==\""),
        (&format!("s={ALL}{PARAMS}"), ""),
    ] {
        let read = SignedRequest::read(
            &parts(&[("Signature-Input", input), ("Signature", signature)]),
            "https",
        );
        assert_eq!(read.err(), Some(SignatureFault::Malformed), "{input} {signature}");
    }
}

#[test]
fn of_several_signatures_the_first_that_could_be_ours_is_taken() {
    let input = format!("proxy=(\"date\");keyid=\"p\";alg=\"ed25519\", s={ALL}{PARAMS}");
    let parts = parts(&[
        ("Signature-Input", &input),
        ("Signature", "proxy=:AA==:, s=:AA==:"),
    ]);
    assert_eq!(
        SignedRequest::read(&parts, "https").map(|read| read.key_id),
        Ok("k1".to_owned())
    );
}

proptest! {
    #[test]
    fn no_fields_panic(input in "[ -~]{0,120}", signature in "[ -~]{0,60}") {
        let _ = SignedRequest::read(&parts(&[("Signature-Input", &input), ("Signature", &signature)]), "https");
    }

    #[test]
    fn a_nonce_is_remembered_for_longer_than_its_signature_is_accepted(offset in -MAX_SKEW..=MAX_SKEW) {
        let lifetime = nonce_lifetime(CREATED, CREATED + offset);
        let accepted_until = u64::try_from(MAX_SKEW - offset).unwrap_or(0);
        prop_assert!(lifetime.as_secs() > accepted_until);
        prop_assert!(lifetime.as_secs() <= accepted_until + 60);
    }
}
