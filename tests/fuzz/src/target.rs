//! The targets, one in a file.

pub(crate) mod cursor;
pub(crate) mod envelope;
pub(crate) mod flickr_answer;
pub(crate) mod headers;
pub(crate) mod idempotency;
pub(crate) mod oauth1_header;
mod request;
pub(crate) mod signature_base;
pub(crate) mod signature_fields;

/// The input as `N` texts: its first lines, and the rest as the last one.
fn texts<const N: usize>(input: &[u8]) -> [std::borrow::Cow<'_, str>; N] {
    let mut lines = input.splitn(N, |byte| *byte == b'\n');
    std::array::from_fn(|_| String::from_utf8_lossy(lines.next().unwrap_or_default()))
}
