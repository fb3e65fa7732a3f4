//! The name of an uploaded file, made harmless.

use super::Media;

/// The longest name in bytes.
const MAX_LENGTH: usize = 255;

/// The last part of the name that the client gave, without characters that mean something in a header or a path; a name
/// by its format where nothing is left.
pub fn file_name(given: Option<&str>, media: Media) -> String {
    let last = given
        .unwrap_or_default()
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default();
    let mut name = String::new();
    for character in last
        .chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\'' | ';' | '<' | '>'))
    {
        if name.len() + character.len_utf8() > MAX_LENGTH {
            break;
        }
        name.push(character);
    }
    let name = name.trim().trim_start_matches('.');
    if name.is_empty() {
        format!("photo.{}", media.extension())
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_last_part_of_a_path_stays() {
        for (given, name) in [
            (Some("dusk.jpg"), "dusk.jpg"),
            (Some("/etc/../dusk.jpg"), "dusk.jpg"),
            (Some("C:\\Photos\\Abend rot.jpg"), "Abend rot.jpg"),
            (Some("été.jpg"), "été.jpg"),
            (Some("a\"\r\nX-Evil: 1.jpg"), "aX-Evil: 1.jpg"),
            (Some(".."), "photo.jpg"),
            (Some(""), "photo.jpg"),
            (None, "photo.jpg"),
        ] {
            assert_eq!(file_name(given, Media::Jpeg), name, "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_short_and_can_stand_in_a_header(given in "\\PC{0,400}|.{0,400}") {
            let name = file_name(Some(&given), Media::Png);
            prop_assert!(!name.is_empty() && name.len() <= MAX_LENGTH);
            prop_assert!(!name.chars().any(|c| c.is_control() || matches!(c, '"' | '/' | '\\')));
        }
    }
}
