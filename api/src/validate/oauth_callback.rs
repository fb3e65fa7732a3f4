//! What the user's browser brings back from Flickr.

use url::form_urlencoded;

use super::Findings;
use crate::problem::Problem;

/// The longest token or verifier that is looked at.
const MAX_LENGTH: usize = 256;

/// The query of the callback (RFC 5849 section 2.2). Flickr may add parameters of its own, so others are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackQuery {
    /// The request token.
    pub token: String,
    /// The proof that the user agreed; `None` when Flickr reports that the user did not.
    pub verifier: Option<String>,
}

impl CallbackQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming the parameter that is missing or too long.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let (mut token, mut verifier, mut refused) = (None, None, false);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "oauth_token" => token = Some(value.into_owned()),
                "oauth_verifier" => verifier = Some(value.into_owned()),
                "oauth_problem" => refused = true,
                _ => {}
            }
        }
        let token = findings.required("oauth_token", token.filter(|text| !text.is_empty()));
        let verifier = if refused {
            None
        } else {
            findings.required("oauth_verifier", verifier.filter(|text| !text.is_empty()))
        };
        for (name, value) in [("oauth_token", &token), ("oauth_verifier", &verifier)] {
            if value.as_ref().is_some_and(|text| text.len() > MAX_LENGTH) {
                findings.note(name, format!("has more than {MAX_LENGTH} bytes"));
            }
        }
        findings.conclude(token.map(|token| Self { token, verifier }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_and_verifier_are_read_and_other_parameters_ignored() {
        let query = CallbackQuery::parse("oauth_token=72-a&oauth_verifier=5d1b&x=1");
        assert_eq!(
            query.map(|q| (q.token, q.verifier)),
            Ok(("72-a".to_owned(), Some("5d1b".to_owned())))
        );
    }

    #[test]
    fn a_refusal_needs_no_verifier() {
        let query = CallbackQuery::parse("oauth_token=72-a&oauth_problem=user_refused");
        assert_eq!(query.map(|query| query.verifier), Ok(None));
    }

    #[test]
    fn each_missing_parameter_is_named() {
        for (query, fields) in [
            ("", vec!["oauth_token", "oauth_verifier"]),
            ("oauth_token=&oauth_verifier=x", vec!["oauth_token"]),
            ("oauth_token=x", vec!["oauth_verifier"]),
        ] {
            let errors = CallbackQuery::parse(query).map_or_else(|problem| problem.errors(), |_| Vec::new());
            let named: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(named, fields, "{query}");
        }
        let long = format!("oauth_token={}&oauth_verifier=x", "a".repeat(300));
        assert!(CallbackQuery::parse(&long).is_err());
    }
}
