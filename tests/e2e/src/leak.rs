//! Where a secret stands that should not: a search for its value in every form in which texts carry one.
//!
//! | form | where it comes from |
//! | --- | --- |
//! | as it is | anything |
//! | base64, either alphabet | Secrets, `Authorization: Basic`, transit, bodies in JSON; wherever the value begins in what is encoded |
//! | percent-encoded | forms, addresses, OAuth 1.0a headers; once and twice |
//! | hexadecimal | digests, dumps |
//! | list of numbers | `{:?}` of bytes |

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

/// Shorter values are found by chance.
const SHORTEST: usize = 8;

/// Something that nobody but its holders may read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    /// What it is, for messages.
    pub name: String,
    value: Vec<u8>,
}

impl Secret {
    /// A secret and what can be made of it alone: the secret part of an API key, the bytes behind base64, the lines of a
    /// private key in a PEM file. Certificates, and values that are too short to be told from others, are none.
    pub fn all_of(name: &str, value: &[u8]) -> Vec<Self> {
        let text = std::str::from_utf8(value).map(str::trim).unwrap_or_default();
        let mut values: Vec<Vec<u8>> = Vec::new();
        if text.contains("-----BEGIN") {
            values.extend(private_key_lines(text).map(Vec::from));
        } else if text.is_empty() {
            values.push(value.to_vec());
        } else {
            let bare = match text.split('_').collect::<Vec<_>>()[..] {
                ["fh", _, secret] | ["whsec", secret] => secret,
                _ => text,
            };
            values.push(bare.into());
            values.extend(BASE64_STANDARD.decode(bare));
        }
        let fitting = values.into_iter().filter(|value| value.len() >= SHORTEST);
        fitting
            .map(|value| Self {
                name: name.to_owned(),
                value,
            })
            .collect()
    }

    fn forms(&self) -> BTreeSet<Vec<u8>> {
        let value = &self.value;
        let mut forms = BTreeSet::from([value.clone()]);
        for before in 0..3 {
            let shifted = [vec![0; before], value.clone()].concat();
            for encoded in [
                BASE64_STANDARD.encode(&shifted),
                BASE64_URL_SAFE_NO_PAD.encode(&shifted),
            ] {
                forms.insert(encoded.as_bytes()[own_characters(before, value.len())].to_vec());
            }
        }
        let once = percent(value);
        forms.insert(percent(&once));
        forms.insert(once.to_ascii_lowercase());
        forms.insert(once);
        forms.insert(
            value
                .iter()
                .flat_map(|byte| format!("{byte:02x}").into_bytes())
                .collect(),
        );
        forms.insert(
            value
                .iter()
                .flat_map(|byte| format!("{byte:02X}").into_bytes())
                .collect(),
        );
        let numbers: Vec<String> = value.iter().map(u8::to_string).collect();
        forms.insert(numbers.join(", ").into_bytes());
        // A lower-case copy of a value with escapes only; without them it would be another value.
        forms.retain(|form| form.len() >= SHORTEST && (form == value || !form.eq_ignore_ascii_case(value)));
        forms
    }
}

/// The characters of base64 that depend on nothing but a value of `length` bytes which begins after `before` others.
fn own_characters(before: usize, length: usize) -> std::ops::Range<usize> {
    let first = (before * 8).div_ceil(6);
    let end = (before + length) * 8 / 6;
    first..end
}

/// What stands between the bounds of private keys in a PEM file, which may hold certificates, too.
fn private_key_lines(pem: &str) -> impl Iterator<Item = &str> {
    let mut is_private = false;
    pem.lines().filter(move |line| {
        if line.starts_with("-----") {
            is_private = line.starts_with("-----BEGIN") && line.contains("PRIVATE KEY");
        }
        is_private && !line.starts_with("-----") && line.len() >= 32
    })
}

/// RFC 3986 section 2.1, of every byte that is not unreserved.
fn percent(value: &[u8]) -> Vec<u8> {
    let encode = |byte: &u8| match byte {
        b'-' | b'.' | b'_' | b'~' => vec![*byte],
        byte if byte.is_ascii_alphanumeric() => vec![*byte],
        byte => format!("%{byte:02X}").into_bytes(),
    };
    value.iter().flat_map(encode).collect()
}

/// Finds secrets.
#[derive(Debug)]
pub struct Search {
    names: Vec<String>,
    automaton: AhoCorasick,
}

impl Search {
    /// For every form of these.
    pub fn of(secrets: &[Secret]) -> Self {
        let mut names = Vec::new();
        let mut forms = Vec::new();
        for secret in secrets {
            for form in secret.forms() {
                names.push(secret.name.clone());
                forms.push(form);
            }
        }
        Self {
            names,
            automaton: AhoCorasick::new(forms).expect("an automaton"),
        }
    }

    /// The names of those that stand in `text`.
    pub fn found_in(&self, text: &[u8]) -> BTreeSet<&str> {
        let matches = self.automaton.find_overlapping_iter(text);
        let found = matches.filter_map(|found| self.names.get(found.pattern().as_usize()));
        found.map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"s3cr+t/value==x";

    fn found(text: &str) -> bool {
        let search = Search::of(&Secret::all_of("it", VALUE));
        !search.found_in(text.as_bytes()).is_empty()
    }

    #[test]
    fn every_form_is_found_wherever_it_stands() {
        for before in ["", "a", "ab", "abc", "user:"] {
            let text = [before.as_bytes(), VALUE, b":rest"].concat();
            assert!(found(&format!("x{}y", BASE64_STANDARD.encode(&text))), "{before}");
            assert!(found(&BASE64_URL_SAFE_NO_PAD.encode(&text)), "{before}");
        }
        for text in [
            "key=s3cr+t/value==x;",
            "key=s3cr%2Bt%2Fvalue%3D%3Dx&",
            "key=s3cr%2bt%2fvalue%3d%3dx&",
            "s3cr%252Bt%252Fvalue%253D%253Dx",
            "733363722b742f76616c75653d3d78",
            "733363722B742F76616C75653D3D78",
            "[115, 51, 99, 114, 43, 116, 47, 118, 97, 108, 117, 101, 61, 61, 120]",
        ] {
            assert!(found(text), "{text}");
        }
        for text in ["s3cr+t/value=", "S3CR+T/VALUE==X", ""] {
            assert!(!found(text), "{text}");
        }
    }

    #[test]
    fn the_secret_part_of_a_key_is_found_alone() {
        let search = Search::of(&Secret::all_of("key", b"fh_abc_0123456789abcdef"));
        assert!(!search.found_in(b"k=0123456789abcdef").is_empty());
        assert!(search.found_in(b"fh_abc").is_empty(), "the id is no secret");
        let webhook = format!("whsec_{}", BASE64_STANDARD.encode("sixteen bytes..!"));
        let search = Search::of(&Secret::all_of("webhook", webhook.as_bytes()));
        assert!(!search.found_in(b"-sixteen bytes..!-").is_empty());
    }

    #[test]
    fn certificates_and_short_values_are_no_secrets() {
        let certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
        assert!(Secret::all_of("certificate", certificate).is_empty());
        assert!(Secret::all_of("short", b"1234567").is_empty());
        let line = "A".repeat(64);
        let key = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----");
        assert_eq!(Secret::all_of("key", key.as_bytes()).len(), 1);
        let certificate = format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
            "B".repeat(64)
        );
        for both in [format!("{certificate}\n{key}"), format!("{key}\n{certificate}")] {
            let secrets = Secret::all_of("both", both.as_bytes());
            let values: Vec<_> = secrets.iter().map(|secret| secret.value.as_slice()).collect();
            assert_eq!(values, [line.as_bytes()]);
        }
    }
}
