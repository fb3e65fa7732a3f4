//! Files of a ZIP archive, handed out as they are stored in it.
//!
//! A deflated file of a ZIP archive and one of a gzip stream are the same bytes between other frames (RFC 1951 in the
//! ZIP Application Note section 4.4.5 and in RFC 1952 section 2.3), and every browser reads gzip: nothing is unpacked here.

/// What a local file header begins with (ZIP Application Note section 4.3.7).
const SIGNATURE: &[u8] = b"PK\x03\x04";
/// The length of a local file header without the name and the extra field.
const HEADER: usize = 30;
/// RFC 1952 section 2.3: deflate, no flags, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A file to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// As it is.
    Plain(Vec<u8>),
    /// As a gzip stream.
    Gzip(Vec<u8>),
}

/// The file of this path in an archive whose local headers hold the lengths. `None` when there is none, or the archive
/// is damaged before it.
pub(super) fn find(archive: &[u8], path: &str) -> Option<Content> {
    let mut rest = archive;
    while rest.starts_with(SIGNATURE) {
        let number = |at: usize| Some(u16::from_le_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let length = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let name_end = HEADER + usize::from(number(26)?);
        let begin = name_end + usize::from(number(28)?);
        let end = begin.checked_add(usize::try_from(length(18)?).ok()?)?;
        let (name, data) = (rest.get(HEADER..name_end)?, rest.get(begin..end)?);
        if name == path.as_bytes() {
            return match number(8)? {
                0 => Some(Content::Plain(data.to_vec())),
                // The check value and the length are at 14 and 22, in gzip's own order and size.
                8 => Some(Content::Gzip(
                    [&GZIP_HEADER, data, rest.get(14..18)?, rest.get(22..26)?].concat(),
                )),
                _ => None,
            };
        }
        rest = rest.get(end..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An archive with one file, stored by `method`.
    fn archive(method: u16, name: &str, data: &[u8]) -> Vec<u8> {
        let short = |length: usize| u16::try_from(length).unwrap_or_default().to_le_bytes();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 4]);
        bytes.extend(method.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(*b"CRC!");
        bytes.extend(u32::try_from(data.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(99_u32.to_le_bytes());
        bytes.extend(short(name.len()));
        bytes.extend(short(2));
        bytes.extend(name.as_bytes());
        bytes.extend(*b"XX");
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_stored_file_is_handed_out_as_it_is() {
        let bytes = [archive(0, "a/one.png", b"one"), archive(0, "a/two.png", b"two")].concat();
        assert_eq!(find(&bytes, "a/two.png"), Some(Content::Plain(b"two".to_vec())));
        assert_eq!(find(&bytes, "two.png"), None);
    }

    #[test]
    fn a_deflated_file_gets_the_frame_of_gzip() {
        let expected = [&GZIP_HEADER[..], b"data", b"CRC!", &99_u32.to_le_bytes()].concat();
        assert_eq!(
            find(&archive(8, "one.js", b"data"), "one.js"),
            Some(Content::Gzip(expected))
        );
    }

    proptest! {
        #[test]
        fn a_damaged_archive_holds_nothing_and_never_panics(
            cut in 0..80_usize,
            noise in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let whole = archive(0, "one", b"data");
            let mut bytes = whole[..cut.min(whole.len())].to_vec();
            bytes.extend(noise);
            let _ = find(&bytes, "two");
        }
    }
}
