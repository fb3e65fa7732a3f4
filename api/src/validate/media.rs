//! What kind of photo or video some bytes are, by their first bytes, and whether Flickr takes it.
//!
//! The formats are those that Flickr's help pages list for upload. Sources of the signatures: the format's own
//! specification, as the WHATWG MIME Sniffing Standard and the IANA media type registrations cite them.

/// As many first bytes as [`Media::sniff`] looks at: one packet of an MPEG transport stream and the next one's mark.
pub const SNIFF_BYTES: usize = 197;

/// A format that Flickr takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JPEG (ISO/IEC 10918-1).
    Jpeg,
    /// PNG (W3C PNG section 5.2).
    Png,
    /// GIF87a or GIF89a.
    Gif,
    /// TIFF 6.0, either byte order.
    Tiff,
    /// WebP (RFC 9649).
    Webp,
    /// HEIF or HEIC (ISO/IEC 23008-12).
    Heif,
    /// MPEG-4 (ISO/IEC 14496-14).
    Mp4,
    /// `QuickTime`.
    QuickTime,
    /// 3GPP (TS 26.244).
    ThreeGpp,
    /// AVI.
    Avi,
    /// Windows Media (ASF).
    Wmv,
    /// MPEG-1 or MPEG-2 program or elementary stream.
    Mpeg,
    /// MPEG-2 transport stream, with or without the time codes of M2TS.
    TransportStream,
    /// Ogg (RFC 3533).
    Ogg,
}

impl Media {
    /// The format of content that begins with `head`: its first [`SNIFF_BYTES`] bytes, or all of it if it is shorter.
    pub fn sniff(head: &[u8]) -> Option<Self> {
        let at = |offset: usize, mark: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
        let riff = |kind: &[u8]| at(0, b"RIFF") && at(8, kind);
        if at(0, b"\xff\xd8\xff") {
            Some(Self::Jpeg)
        } else if at(0, b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if at(0, b"GIF87a") || at(0, b"GIF89a") {
            Some(Self::Gif)
        } else if at(0, b"II\x2a\0") || at(0, b"MM\0\x2a") {
            Some(Self::Tiff)
        } else if riff(b"WEBP") {
            Some(Self::Webp)
        } else if riff(b"AVI ") {
            Some(Self::Avi)
        } else if at(4, b"ftyp") {
            Self::by_brand(head.get(8..12)?)
        } else if at(4, b"moov") || at(4, b"mdat") || at(4, b"wide") {
            Some(Self::QuickTime)
        } else if at(
            0,
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
        ) {
            Some(Self::Wmv)
        } else if at(0, b"\0\0\x01\xba") || at(0, b"\0\0\x01\xb3") {
            Some(Self::Mpeg)
        } else if (at(0, b"\x47") && at(188, b"\x47")) || (at(4, b"\x47") && at(196, b"\x47")) {
            Some(Self::TransportStream)
        } else if at(0, b"OggS") {
            Some(Self::Ogg)
        } else {
            None
        }
    }

    /// The format of an ISO base media file (ISO/IEC 14496-12) by its major brand.
    fn by_brand(brand: &[u8]) -> Option<Self> {
        match brand {
            b"heic" | b"heix" | b"heim" | b"heis" | b"mif1" => Some(Self::Heif),
            b"qt  " => Some(Self::QuickTime),
            [b'3', b'g', b'p' | b'2' | b'r' | b's', _] => Some(Self::ThreeGpp),
            b"isom" | b"iso2" | b"iso3" | b"iso4" | b"iso5" | b"iso6" | b"mp41" | b"mp42" | b"mp71"
            | b"avc1" | b"M4V " | b"M4VP" | b"MSNV" | b"f4v " | b"dash" | b"XAVC" => Some(Self::Mp4),
            _ => None,
        }
    }

    /// The names that a client may give it; the first is the one to pass on.
    pub const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["image/jpeg", "image/jpg", "image/pjpeg"],
            Self::Png => &["image/png"],
            Self::Gif => &["image/gif"],
            Self::Tiff => &["image/tiff"],
            Self::Webp => &["image/webp"],
            Self::Heif => &["image/heic", "image/heif"],
            Self::Mp4 => &["video/mp4", "video/x-m4v"],
            Self::QuickTime => &["video/quicktime"],
            Self::ThreeGpp => &["video/3gpp", "video/3gpp2"],
            Self::Avi => &["video/x-msvideo", "video/avi", "video/msvideo"],
            Self::Wmv => &["video/x-ms-wmv", "video/x-ms-asf"],
            Self::Mpeg => &["video/mpeg"],
            Self::TransportStream => &["video/mp2t"],
            Self::Ogg => &["video/ogg", "application/ogg"],
        }
    }

    /// The usual end of a file name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Webp => "webp",
            Self::Heif => "heic",
            Self::Mp4 => "mp4",
            Self::QuickTime => "mov",
            Self::ThreeGpp => "3gp",
            Self::Avi => "avi",
            Self::Wmv => "wmv",
            Self::Mpeg => "mpg",
            Self::TransportStream => "m2ts",
            Self::Ogg => "ogv",
        }
    }
}

/// The format of a photo whose content begins with `head` and which its sender declares as `declared`. A declaration
/// that says nothing (none, or `application/octet-stream`) agrees with every format.
///
/// # Errors
/// A sentence for the client when Flickr takes no such content, or when it is not what was declared.
pub fn check_declared(head: &[u8], declared: Option<&str>) -> Result<Media, String> {
    if head.is_empty() {
        return Err("is empty".to_owned());
    }
    let Some(media) = Media::sniff(head) else {
        return Err("is not a photo or video of a format that Flickr takes".to_owned());
    };
    let declared = declared.map(|value| {
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    });
    match declared.as_deref() {
        None | Some("" | "application/octet-stream") => Ok(media),
        Some(name) if media.names().contains(&name) => Ok(media),
        Some(_) => Err(format!(
            "is declared as something else, but its content is {}",
            media.names()[0]
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One beginning of each format.
    fn samples() -> Vec<(Vec<u8>, Media)> {
        let mut transport = vec![0; SNIFF_BYTES];
        transport[0] = 0x47;
        transport[188] = 0x47;
        let mut m2ts = vec![0; SNIFF_BYTES];
        m2ts[4] = 0x47;
        m2ts[196] = 0x47;
        vec![
            (b"\xff\xd8\xff\xe0\0\x10JFIF".to_vec(), Media::Jpeg),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec(), Media::Png),
            (b"GIF89a\x01\0\x01\0".to_vec(), Media::Gif),
            (b"II\x2a\0\x08\0\0\0".to_vec(), Media::Tiff),
            (b"MM\0\x2a\0\0\0\x08".to_vec(), Media::Tiff),
            (b"RIFF\x24\0\0\0WEBPVP8 ".to_vec(), Media::Webp),
            (b"RIFF\x24\0\0\0AVI LIST".to_vec(), Media::Avi),
            (b"\0\0\0\x20ftypmp42\0\0\0\0".to_vec(), Media::Mp4),
            (b"\0\0\0\x20ftypisom\0\0\x02\0".to_vec(), Media::Mp4),
            (b"\0\0\0\x14ftypqt  \0\0\0\0".to_vec(), Media::QuickTime),
            (b"\0\0\0\x08wide\0\0\0\0mdat".to_vec(), Media::QuickTime),
            (b"\0\0\0\x18ftyp3gp4\0\0\0\0".to_vec(), Media::ThreeGpp),
            (b"\0\0\0\x18ftypheic\0\0\0\0".to_vec(), Media::Heif),
            (
                b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c".to_vec(),
                Media::Wmv,
            ),
            (b"\0\0\x01\xba\x44".to_vec(), Media::Mpeg),
            (b"OggS\0\x02".to_vec(), Media::Ogg),
            (transport, Media::TransportStream),
            (m2ts, Media::TransportStream),
        ]
    }

    #[test]
    fn each_format_is_known_by_its_first_bytes() {
        for (head, media) in samples() {
            assert_eq!(Media::sniff(&head), Some(media), "{media:?}");
        }
    }

    #[test]
    fn what_flickr_does_not_take_is_refused() {
        for head in [
            &b"%PDF-1.7"[..],
            b"PK\x03\x04",
            b"<svg xmlns=",
            b"<html>",
            b"\x7fELF",
            b"RIFF\x24\0\0\0WAVE",
            b"\0\0\0\x18ftypM4A \0\0\0\0",
            b"\xff\xd8",
            b"",
        ] {
            assert_eq!(Media::sniff(head), None, "{head:?}");
        }
    }

    #[test]
    fn a_declared_type_must_agree_with_the_content() {
        for (head, media) in samples() {
            for name in media.names() {
                assert_eq!(check_declared(&head, Some(name)), Ok(media));
            }
            assert_eq!(check_declared(&head, None), Ok(media));
            assert_eq!(check_declared(&head, Some("application/octet-stream")), Ok(media));
            assert!(check_declared(&head, Some("text/html")).is_err());
        }
        let png = b"\x89PNG\r\n\x1a\n";
        assert_eq!(check_declared(png, Some("IMAGE/PNG; charset=x")), Ok(Media::Png));
        assert!(check_declared(png, Some("image/jpeg")).is_err_and(|message| message.contains("image/png")));
        assert_eq!(check_declared(b"", Some("image/png")), Err("is empty".to_owned()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Media::sniff(&head);
        }

        #[test]
        fn more_than_the_first_bytes_change_nothing(
            head in proptest::collection::vec(any::<u8>(), SNIFF_BYTES..SNIFF_BYTES + 50),
        ) {
            prop_assert_eq!(Media::sniff(&head), Media::sniff(&head[..SNIFF_BYTES]));
        }
    }
}
