//! Checksums for pod annotations: a change of what a pod mounts changes its template, and so restarts it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The annotation of a pod template.
pub(crate) const ANNOTATION: &str = "flickrhub.dev/config-checksum";
/// The annotation of a pod template with the checksum of the authorities that the pod trusts.
pub(crate) const TRUST: &str = "flickrhub.dev/trust-checksum";

/// The first 64 bits of SHA-256 over the entries, in hexadecimal. Enough to see a change, and too little to tell
/// anything of a secret.
pub(crate) fn of_entries<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    for (key, value) in entries {
        for part in [key.as_bytes(), value] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize()
        .iter()
        .take(8)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The checksum of several texts, in their order.
pub(crate) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    of_entries(texts.into_iter().map(|text| ("", text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_entry_ends_matters() {
        assert_ne!(of_texts(["ab", "c"]), of_texts(["a", "bc"]));
        assert_ne!(of_texts(["a"]), of_texts(["a", ""]));
    }

    #[test]
    fn the_same_entries_have_the_same_checksum() {
        assert_eq!(of_texts(["a", "b"]), of_texts(["a", "b"]));
        assert_eq!(of_texts([]).len(), 16);
    }
}
