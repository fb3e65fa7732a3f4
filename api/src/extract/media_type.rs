//! The `Content-Type` of a request.

use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use crate::problem::Problem;

/// What a route takes as its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `multipart/form-data`.
    FormData,
}

impl MediaType {
    /// The name (IANA).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::FormData => "multipart/form-data",
        }
    }

    /// Checks that the body is declared as this and is not compressed.
    ///
    /// # Errors
    /// [`Problem::UnsupportedMediaType`].
    pub fn check(self, headers: &HeaderMap) -> Result<(), Problem> {
        let header = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let essence = header(CONTENT_TYPE)
            .and_then(|value| value.split(';').next())
            .unwrap_or_default();
        let plain = header(CONTENT_ENCODING).is_none_or(|value| value.eq_ignore_ascii_case("identity"));
        if plain && essence.trim().eq_ignore_ascii_case(self.name()) {
            Ok(())
        } else {
            Err(Problem::UnsupportedMediaType {
                expected: self.name(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter_and_another_type_is_refused() {
        for (value, fits) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/jsonp", false),
            ("text/plain", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
            assert_eq!(MediaType::Json.check(&headers).is_ok(), fits, "{value}");
        }
        assert!(MediaType::Json.check(&HeaderMap::new()).is_err());
    }

    #[test]
    fn a_compressed_body_is_refused() {
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        assert!(MediaType::Json.check(&headers).is_err());
    }
}
