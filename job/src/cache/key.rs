//! The name of an answer.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::model::Job;

/// Arguments that say how an answer is written, not what it holds.
const ABOUT_FORM: [&str; 3] = ["format", "nojsoncallback", "jsoncallback"];

/// SHA-256 over a user, a method and its arguments in canonical form: each text is preceded by its length, arguments are
/// in the order of their names, and those that only concern the form of the answer are left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheKey {
    hash: [u8; 32],
    user: String,
    method: String,
}

impl CacheKey {
    /// The key of the answer that `user` has from `method` with these arguments.
    pub fn new(user: &str, method: &str, params: &BTreeMap<String, String>) -> Self {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text.as_bytes());
        };
        add(user);
        add(method);
        for (name, value) in params {
            if !ABOUT_FORM.contains(&name.as_str()) {
                add(name);
                add(value);
            }
        }
        Self {
            hash: hash.finalize().into(),
            user: user.to_owned(),
            method: method.to_owned(),
        }
    }

    /// The user.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }
}

impl From<&Job> for CacheKey {
    fn from(job: &Job) -> Self {
        Self::new(&job.user_id, &job.method, &job.params)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_form_of_the_answer_makes_no_other_question() {
        let plain = CacheKey::new("1@N01", "flickr.photos.search", &params(&[("text", "sea")]));
        let with_form = params(&[("text", "sea"), ("format", "json"), ("nojsoncallback", "1")]);
        assert_eq!(plain, CacheKey::new("1@N01", "flickr.photos.search", &with_form));
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let key = |pairs| CacheKey::new("u", "m", &params(pairs));
        assert_ne!(key(&[("a", "bc")]), key(&[("ab", "c")]));
        assert_ne!(key(&[("a", "b"), ("c", "d")]), key(&[("a", "bc"), ("", "d")]));
        assert_ne!(
            CacheKey::new("u", "m", &params(&[])),
            CacheKey::new("um", "", &params(&[]))
        );
    }

    #[test]
    fn a_key_is_written_as_64_hexadecimal_digits() {
        let text = CacheKey::new("u", "m", &BTreeMap::new()).to_string();
        assert_eq!(text.len(), 64);
        assert!(text.chars().all(|digit| digit.is_ascii_hexdigit()));
    }

    proptest! {
        #[test]
        fn no_two_users_share_an_answer(
            one in ".{0,12}", other in ".{0,12}", method in "[a-z.]{1,20}",
            params in proptest::collection::btree_map(".{0,5}", ".{0,5}", 0..4),
        ) {
            prop_assume!(one != other);
            let keys = [CacheKey::new(&one, &method, &params), CacheKey::new(&other, &method, &params)];
            prop_assert_ne!(keys[0].to_string(), keys[1].to_string());
        }
    }
}
