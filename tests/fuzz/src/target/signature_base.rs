//! The text that a signature is of (RFC 9421 section 2.5): a line for each component, and no way to put another one in.
//!
//! Lines of the input: method, target, `Host`, a header of its own (`X-Own`), and the list of components.

use flickrhub_api::auth::signature::SignedRequest;

use super::request::parts;
use super::texts;

const PARAMETERS: &str = r#";created=1;nonce="n";keyid="k""#;

pub(crate) fn run(input: &[u8]) {
    let [method, target, host, own, components] = texts(input);
    let input = format!("sig=({components}){PARAMETERS}");
    let headers: [(&str, &[u8]); 4] = [
        ("host", host.as_bytes()),
        ("x-own", own.as_bytes()),
        ("signature-input", input.as_bytes()),
        ("signature", b"sig=:AAAA:"),
    ];
    let Some(parts) = parts(&method, &target, &headers) else {
        return;
    };
    let Ok(signed) = SignedRequest::read(&parts, "https") else {
        return;
    };
    let (base, covered) = (signed.base(), signed.covered());
    let lines: Vec<&str> = base.split('\n').collect();
    assert_eq!(
        lines.len(),
        covered.len() + 1,
        "one line for each component: {base:?}"
    );
    for (line, name) in lines.iter().zip(covered) {
        assert!(line.starts_with(&format!("\"{name}\": ")), "{name}: {line:?}");
    }
    let last = lines.last().copied().unwrap_or_default();
    assert!(last.starts_with("\"@signature-params\": ("), "{last:?}");
    assert!(!base.contains('\r'), "{base:?}");
    // Read again it is the same: what is signed does not depend on the reader.
    let again = SignedRequest::read(&parts, "https").map(|again| again.base().to_owned());
    assert_eq!(again.as_deref(), Ok(base));
}
