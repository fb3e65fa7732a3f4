//! The place in a list where the next page begins.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use flickrhub_job::model::JobId;

/// The last entry of a page, as text that clients hand back and do not read.
///
/// Entries are listed in the order of their ids, so the next page is "ids behind this one": it neither repeats nor skips
/// an entry when others are added or deleted meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor<T = JobId>(pub T);

/// The text was not given out as a cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no cursor; hand back next_cursor of the page before, unchanged")]
pub struct InvalidCursor;

impl<T: fmt::Display> fmt::Display for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0.to_string()))
    }
}

impl<T: FromStr> FromStr for Cursor<T> {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidCursor)?;
        let id = std::str::from_utf8(&bytes).map_err(|_| InvalidCursor)?;
        id.parse().map(Self).map_err(|_| InvalidCursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_is_read_back_as_the_job_it_stands_for() {
        let cursor = Cursor(JobId::new());
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn a_cursor_needs_no_escaping_in_a_query() {
        let text = Cursor(JobId::new()).to_string();
        assert!(
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn any_other_text_is_refused_and_never_panics(text in ".{0,60}") {
            prop_assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor));
        }
    }
}
