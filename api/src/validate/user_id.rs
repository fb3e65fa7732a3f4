//! The form of a Flickr user id.

/// The longest id that is looked up.
const MAX_LENGTH: usize = 32;

/// A Flickr NSID, for example `12037949754@N01`: digits, `@N`, digits. Whether there is such a user is asked later.
pub(super) fn user_id(text: String) -> Result<String, &'static str> {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match text.split_once("@N") {
        Some((left, right)) if text.len() <= MAX_LENGTH && number(left) && number(right) => Ok(text),
        _ => Err("is no Flickr user id (NSID), for example 12037949754@N01"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nsid_is_taken_and_nothing_else() {
        assert!(user_id("12037949754@N01".to_owned()).is_ok());
        for text in [
            "",
            "@N01",
            "12@N",
            "12@n01",
            "me",
            "12@N01|x",
            "1 2@N01",
            "12@N01@N02",
        ] {
            assert!(user_id(text.to_owned()).is_err(), "{text}");
        }
        assert!(user_id(format!("{}@N01", "1".repeat(40))).is_err());
    }
}
