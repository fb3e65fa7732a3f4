//! The preference `wait` of the header `Prefer` (RFC 7240): how long a client is willing to wait for its answer.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// RFC 7240 section 2.
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// RFC 7240 section 3.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The longest wait; who asks for more gets this.
pub const MAX_WAIT: Duration = Duration::from_mins(1);

/// How long the client is willing to wait, at most [`MAX_WAIT`].
///
/// A preference that is not understood, and a malformed header, count as not there (RFC 7240 section 2). Of a preference
/// that is given more than once the first one counts.
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let value = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .filter_map(preferences)
        .flatten()
        .find(|(name, _)| name.eq_ignore_ascii_case("wait"))
        .map(|(_, value)| value)?;
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More digits than fit are a long wait.
    let seconds = value.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// The value of `Preference-Applied` for a wait.
pub fn applied(wait: Duration) -> HeaderValue {
    HeaderValue::try_from(format!("wait={}", wait.as_secs()))
        .unwrap_or_else(|_| HeaderValue::from_static("wait"))
}

/// Names and values, parameters left out; `None` if the header is malformed.
fn preferences(header: &str) -> Option<Vec<(&str, &str)>> {
    split(header, ',')?
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|preference| {
            let preference = split(preference, ';')?.first().copied()?;
            let (name, value) = match preference.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => (preference, ""),
            };
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => value,
            };
            is_token(name).then_some((name, value))
        })
        .collect()
}

/// The parts between separators that are not within quotes, trimmed; `None` if a quote is left open.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if quoted && character == '\\' {
            escaped = true;
        } else if character == '"' {
            quoted = !quoted;
        } else if character == separator && !quoted {
            parts.push(text.get(start..at)?.trim());
            start = at + character.len_utf8();
        }
    }
    parts.push(text.get(start..)?.trim());
    (!quoted).then_some(parts)
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_str(value).ok()?);
        }
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_wherever_it_stands() {
        for values in [
            &["wait=10"][..],
            &["Wait = 10"],
            &["wait=\"10\""],
            &["respond-async, wait=10"],
            &["respond-async;x=\"a,b;c\" , wait=10 ; later"],
            &["return=minimal", "wait=10"],
            &["wait=10, wait=20"],
            &["wait=10", "wait=20"],
            &["foo=\"\\\", wait=99\", wait=10"],
            &[", wait=10,"],
        ] {
            assert_eq!(of(values), Some(10), "{values:?}");
        }
    }

    #[test]
    fn more_than_a_minute_is_a_minute() {
        assert_eq!(of(&["wait=0"]), Some(0));
        assert_eq!(of(&["wait=61"]), Some(60));
        assert_eq!(of(&["wait=99999999999999999999999999"]), Some(60));
    }

    #[test]
    fn what_is_malformed_or_something_else_is_ignored() {
        for values in [
            &[][..],
            &[""],
            &["wait"],
            &["wait="],
            &["wait=-1"],
            &["wait=1.5"],
            &["wait=ten"],
            &["wait=10 20"],
            &["respond-async"],
            &["wait=\"10"],
            &["w ait=10"],
            &["waiting=10"],
            &["wait=x, wait=10"],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }

    #[test]
    fn what_was_applied_is_said() {
        assert_eq!(applied(MAX_WAIT), "wait=60");
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic_and_waits_no_longer_than_allowed(text in "[ -~]{0,60}") {
            prop_assert!(of(&[&text]).is_none_or(|seconds| seconds <= 60));
        }
    }
}
