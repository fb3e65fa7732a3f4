//! The signature of calls to Flickr (RFC 5849): whatever users pass as arguments, the header is one line of ASCII.
//!
//! Lines of the input: the address, then names and values of parameters in turn.

use flickrhub_flickr::oauth1::{Signable, Stamp, authorization_header, encode_pairs, percent_encode};
use flickrhub_flickr::{AppCredentials, UserToken};
use url::{Url, form_urlencoded};

use super::texts;

/// Not by chance in a signature, which is base64.
const SECRET: &str = "hush-hush-hush";

pub(crate) fn run(input: &[u8]) {
    let [address, arguments] = texts(input);
    let lines: Vec<&str> = arguments.split('\n').collect();
    let pairs: Vec<(&str, &str)> = lines
        .chunks(2)
        .map(|pair| {
            (
                pair.first().copied().unwrap_or_default(),
                pair.get(1).copied().unwrap_or_default(),
            )
        })
        .collect();
    let encoded = encode_pairs(pairs.iter().copied());
    let decoded: Vec<_> = form_urlencoded::parse(encoded.as_bytes()).collect();
    let same = decoded
        .iter()
        .map(|(name, value)| (name.as_ref(), value.as_ref()));
    assert!(same.eq(pairs.iter().copied()), "{encoded}");
    assert!(
        percent_encode(&arguments)
            .bytes()
            .all(|byte| byte.is_ascii_graphic())
    );

    let Ok(url) = Url::parse(&address) else {
        return;
    };
    let stamp = Stamp {
        timestamp: 1_800_000_000,
        nonce: "nonce".to_owned(),
    };
    let signable = Signable {
        http_method: "POST",
        url: &url,
        body: &pairs,
        protocol: &[],
    };
    let token = UserToken::new("token", SECRET);
    let header = authorization_header(
        &signable,
        &AppCredentials::new("key", SECRET),
        Some(&token),
        &stamp,
    );
    assert!(
        header.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
        "{header:?}"
    );
    assert!(!header.contains(SECRET), "a secret is sent");
}
