//! Verification of RFC 5849 signatures, written apart from the client's signer on purpose: an error
//! in one of them does not hide in the other.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// What is wrong with the form of a signed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadHeader;

/// The parameters of an `Authorization: OAuth …` header without `realm`, decoded. `None` for another
/// scheme.
pub(crate) fn header_parameters(header: &str) -> Option<Result<Vec<(String, String)>, BadHeader>> {
    let (scheme, rest) = header.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("oauth") {
        return None;
    }
    let mut parameters = Vec::new();
    for field in rest.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        let parsed = field.split_once('=').and_then(|(name, value)| {
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            Some((decode(name)?, decode(value)?))
        });
        match parsed {
            Some((name, _)) if name == "realm" => {}
            Some(pair) => parameters.push(pair),
            None => return Some(Err(BadHeader)),
        }
    }
    Some(Ok(parameters))
}

/// Whether `signature` is the HMAC-SHA1 of the request.
///
/// `url` is scheme, authority and path; `parameters` are all of the request's, decoded, with or
/// without `oauth_signature`.
pub(crate) fn verify(
    signature: &str,
    method: &str,
    url: &str,
    parameters: &[(String, String)],
    client_secret: &str,
    token_secret: &str,
) -> bool {
    let Ok(expected) = STANDARD.decode(signature) else {
        return false;
    };
    let mut key = escape(client_secret);
    key.push('&');
    key.push_str(&escape(token_secret));
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key.as_bytes()) else {
        return false;
    };
    mac.update(base_string(method, url, parameters).as_bytes());
    mac.verify_slice(&expected).is_ok()
}

/// The text that a signature covers. Flickr repeats it to whoever signed wrongly.
pub(crate) fn base_string(method: &str, url: &str, parameters: &[(String, String)]) -> String {
    let mut pairs: Vec<(String, String)> = parameters
        .iter()
        .filter(|(name, _)| name != "oauth_signature")
        .map(|(name, value)| (escape(name), escape(value)))
        .collect();
    pairs.sort_unstable();
    let mut joined = String::new();
    for (name, value) in pairs {
        if !joined.is_empty() {
            joined.push('&');
        }
        joined.push_str(&name);
        joined.push('=');
        joined.push_str(&value);
    }
    [method, url, &joined].map(escape).join("&")
}

/// Percent-encoding of RFC 5849 section 3.6, octet by octet.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for &octet in text.as_bytes() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(octet));
            }
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                escaped.push('%');
                escaped.push(char::from(DIGITS[usize::from(octet >> 4)]));
                escaped.push(char::from(DIGITS[usize::from(octet & 15)]));
            }
        }
    }
    escaped
}

fn decode(text: &str) -> Option<String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The last request of RFC 5849 section 1.2.
    const HEADER: &str = r#"OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03",
        oauth_token="nnch734d00sl2jdk", oauth_signature_method="HMAC-SHA1",
        oauth_timestamp="137131202", oauth_nonce="chapoH",
        oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D""#;

    fn verified(signature: &str, size: &str, token_secret: &str) -> bool {
        let mut parameters = header_parameters(HEADER).unwrap().unwrap();
        parameters.push(("file".into(), "vacation.jpg".into()));
        parameters.push(("size".into(), size.into()));
        let url = "http://photos.example.net/photos";
        verify(
            signature,
            "GET",
            url,
            &parameters,
            "kd94hf93k423kf44",
            token_secret,
        )
    }

    #[test]
    fn the_rfcs_example_verifies_and_a_changed_one_does_not() {
        let signature = "MdpQcU8iPSUjWoN/UDMsK2sui9I=";
        assert!(verified(signature, "original", "pfkkdhi9sl3r4s00"));
        assert!(!verified(signature, "small", "pfkkdhi9sl3r4s00"));
        assert!(!verified(signature, "original", "another secret"));
        assert!(!verified("AAAA", "original", "pfkkdhi9sl3r4s00"));
        assert!(!verified("not base64", "original", "pfkkdhi9sl3r4s00"));
    }

    #[test]
    fn only_well_formed_oauth_headers_have_parameters() {
        assert!(header_parameters("Bearer abc").is_none());
        assert_eq!(header_parameters("OAuth oauth_nonce=bare"), Some(Err(BadHeader)));
        assert_eq!(
            header_parameters(r#"oauth a="1%202""#),
            Some(Ok(vec![("a".into(), "1 2".into())]))
        );
    }
}
