#![allow(clippy::unwrap_used)]

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

/// The signature of a request whose parameters are all given.
fn signed(
    http_method: &str,
    address: &str,
    parameters: &[(&str, &str)],
    client_secret: &str,
    token_secret: Option<&str>,
) -> String {
    let base = signature_base_string(http_method, &url(address), parameters);
    hmac_sha1(&base, &secret(client_secret), token_secret.map(secret).as_ref())
}

#[test]
fn rfc_5849_section_1_2_temporary_credentials() {
    let signature = signed(
        "POST",
        "https://photos.example.net/initiate",
        &[
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131200"),
            ("oauth_nonce", "wIjqoS"),
            ("oauth_callback", "http://printer.example.com/ready"),
        ],
        "kd94hf93k423kf44",
        None,
    );
    assert_eq!(signature, "74KNZJeDHnMBp0EMJ9ZHt/XKycU=");
}

#[test]
fn rfc_5849_section_1_2_token_credentials() {
    let signature = signed(
        "POST",
        "https://photos.example.net/token",
        &[
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "hh5s93j4hdidpola"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131201"),
            ("oauth_nonce", "walatlh"),
            ("oauth_verifier", "hfdp7dh39dks9884"),
        ],
        "kd94hf93k423kf44",
        Some("hdhd0244k9j7ao03"),
    );
    assert_eq!(signature, "gKgrFCywp7rO0OXSjdot/IHF7IU=");
}

#[test]
fn rfc_5849_section_1_2_protected_resource() {
    let signature = signed(
        "GET",
        "http://photos.example.net/photos?file=vacation.jpg&size=original",
        &[
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_token", "nnch734d00sl2jdk"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131202"),
            ("oauth_nonce", "chapoH"),
        ],
        "kd94hf93k423kf44",
        Some("pfkkdhi9sl3r4s00"),
    );
    assert_eq!(signature, "MdpQcU8iPSUjWoN/UDMsK2sui9I=");
}

/// The request of section 3.4.1.1: parameters outside the query, the body's two among them.
const SECTION_3_4_1: [(&str, &str); 7] = [
    ("oauth_consumer_key", "9djdj82h48djs9d2"),
    ("oauth_token", "kkk9d7dh3k39sjv7"),
    ("oauth_signature_method", "HMAC-SHA1"),
    ("oauth_timestamp", "137131201"),
    ("oauth_nonce", "7d8f3e4a"),
    ("c2", ""),
    ("a3", "2 q"),
];
const SECTION_3_4_1_URL: &str = "http://EXAMPLE.COM:80/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b";

#[test]
fn rfc_5849_section_3_4_1_1_base_string() {
    assert_eq!(
        signature_base_string("post", &url(SECTION_3_4_1_URL), &SECTION_3_4_1),
        "POST&http%3A%2F%2Fexample.com%2Frequest&a2%3Dr%2520b%26a3%3D2%2520q%26a3%3Da%26b5%3D%253D\
         %25253D%26c%2540%3D%26c2%3D%26oauth_consumer_key%3D9djdj82h48djs9d2%26oauth_nonce%3D7d8f3e\
         4a%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D137131201%26oauth_token%3Dkkk9\
         d7dh3k39sjv7"
    );
}

/// The RFC prints a signature that does not belong to this request; verified erratum 2550 gives the
/// right one.
#[test]
fn rfc_5849_erratum_2550_signature() {
    let signature = signed(
        "POST",
        SECTION_3_4_1_URL,
        &SECTION_3_4_1,
        "j49sk3j29djd",
        Some("dh893hdasih9"),
    );
    assert_eq!(signature, "r6/TJjbCOr97/+UU0NsvSne7s5g=");
}

#[test]
fn rfc_5849_section_3_4_1_2_base_string_uris() {
    assert_eq!(
        base_string_uri(&url("http://EXAMPLE.COM:80/r%20v/X?id=123")),
        "http://example.com/r%20v/X"
    );
    assert_eq!(
        base_string_uri(&url("https://www.example.net:8080/?q=1#top")),
        "https://www.example.net:8080/"
    );
}

#[test]
fn the_header_carries_the_protocol_parameters_and_no_secret() {
    let header = authorization_header(
        &Signable {
            http_method: "POST",
            url: &url("https://www.flickr.com/services/oauth/request_token"),
            body: &[("title", "not in the header")],
            protocol: &[("oauth_callback", "https://hub.example/cb?x=1")],
        },
        &AppCredentials::new("key", "app-hush"),
        Some(&UserToken::new("tok/en", "token-hush")),
        &Stamp {
            timestamp: 7,
            nonce: "n".into(),
        },
    );
    assert!(header.starts_with("OAuth oauth_consumer_key=\"key\", oauth_nonce=\"n\""));
    assert!(header.contains("oauth_token=\"tok%2Fen\""));
    assert!(header.contains("oauth_callback=\"https%3A%2F%2Fhub.example%2Fcb%3Fx%3D1\""));
    assert!(header.contains("oauth_signature=\""));
    assert!(!header.contains("hush") && !header.contains("title"));
}

proptest! {
    #[test]
    fn encoding_is_undone_by_decoding(text in ".*") {
        let encoded = percent_encode(&text);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
        prop_assert!(encoded.chars().all(plain));
        prop_assert_eq!(percent_decode_str(&encoded).decode_utf8().unwrap(), text);
    }

    #[test]
    fn the_order_of_parameters_does_not_matter(
        shuffled in prop::collection::vec(("[a-c]{0,2}", ".{0,3}"), 0..8)
            .prop_flat_map(|pairs| (Just(pairs.clone()), Just(pairs).prop_shuffle()))
    ) {
        let view = |pairs: &[(String, String)]| {
            normalize(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        prop_assert_eq!(view(&shuffled.0), view(&shuffled.1));
    }

    #[test]
    fn it_does_not_matter_whether_parameters_travel_in_query_or_body(
        pairs in prop::collection::vec(("[a-z&=+ é]{1,4}", ".{0,6}"), 1..6)
    ) {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let bare = url("https://api.flickr.com/services/rest");
        let mut with_query = bare.clone();
        with_query.set_query(Some(&encode_pairs(pairs.iter().copied())));
        prop_assert_eq!(
            signature_base_string("GET", &with_query, &[]),
            signature_base_string("GET", &bare, &pairs)
        );
    }
}

#[test]
fn debug_output_shows_no_parameter() {
    let request = Signable {
        http_method: "POST",
        url: &"https://api.example/rest?a=hush".parse().unwrap(),
        body: &[("b", "hush")],
        protocol: &[("oauth_verifier", "hush")],
    };
    let shown = format!("{request:?}");
    assert!(shown.contains("https://api.example/rest"), "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}
