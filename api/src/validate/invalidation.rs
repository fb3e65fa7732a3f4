//! The query of an invalidation of cached answers.

use flickrhub_flickr::Method;

use super::Findings;
use super::user_id::user_id;
use crate::problem::Problem;

/// Whose answers, and of what, are not good any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidationQuery {
    /// All of a user.
    User(String),
    /// All of a method, of every user.
    Method(String),
    /// Those that the user has of the method.
    Both {
        /// The user.
        user_id: String,
        /// The method.
        method: String,
    },
}

impl InvalidationQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong, or both when none is given.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let (mut user, mut method) = (None, None);
        let taken = findings.each_parameter(query, "user_id and method", |name, value, findings| {
            match name {
                "user_id" => user = findings.check(name, user_id(value.into_owned())),
                "method" => method = findings.check(name, known_method(&value)),
                _ => return false,
            }
            true
        });
        if taken == 0 {
            findings.note("user_id", "is needed, or method, or both");
        }
        let parsed = match (user, method) {
            (Some(user_id), Some(method)) => Some(Self::Both { user_id, method }),
            (Some(user_id), None) => Some(Self::User(user_id)),
            (None, Some(method)) => Some(Self::Method(method)),
            (None, None) => None,
        };
        findings.conclude(parsed)
    }
}

fn known_method(name: &str) -> Result<String, &'static str> {
    match Method::lookup(name) {
        Some(method) => Ok(method.name.to_owned()),
        None => Err("is no method of Flickr"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_fields(query: &str) -> Vec<String> {
        match InvalidationQuery::parse(query) {
            Err(Problem::InvalidRequest(errors)) => errors.into_iter().map(|error| error.field).collect(),
            other => panic!("{query}: {other:?}"),
        }
    }

    #[test]
    fn a_user_a_method_or_both_are_named() {
        let parse = |query| InvalidationQuery::parse(query).ok();
        let (user_id, method) = ("1@N01".to_owned(), "flickr.photos.search".to_owned());
        assert_eq!(
            parse("user_id=1%40N01"),
            Some(InvalidationQuery::User(user_id.clone()))
        );
        assert_eq!(
            parse("method=flickr.photos.search"),
            Some(InvalidationQuery::Method(method.clone()))
        );
        assert_eq!(
            parse("method=flickr.photos.search&user_id=1@N01"),
            Some(InvalidationQuery::Both { user_id, method })
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(wrong_fields(""), ["user_id"]);
        assert_eq!(wrong_fields("method=photos.search"), ["method"]);
        assert_eq!(wrong_fields("user_id=somebody"), ["user_id"]);
        assert_eq!(wrong_fields("user=1@N01&user_id=1@N01"), ["user"]);
        assert_eq!(
            wrong_fields("method=flickr.photos.search&method=flickr.photos.search"),
            ["method"]
        );
    }
}
