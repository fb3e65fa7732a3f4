//! One argument of a Flickr method, as JSON.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// The value of an argument. Flickr takes text only; numbers and booleans are written as JSON writes them, booleans as
/// Flickr's `1` and `0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument(pub String);

impl Argument {
    /// What an argument may be.
    pub(crate) const EXPECTED: &'static str = "a string, a number or a boolean";
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ArgumentVisitor)
    }
}

struct ArgumentVisitor;

impl Visitor<'_> for ArgumentVisitor {
    type Value = Argument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Argument::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Argument, E> {
        Ok(Argument(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Argument, E> {
        Ok(Argument(value))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Argument, E> {
        Ok(Argument(u8::from(value).to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Argument, E> {
        Ok(Argument(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Argument, E> {
        Ok(Argument(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Argument, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => Ok(Argument(number.to_string())),
            None => Err(E::invalid_value(de::Unexpected::Float(value), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_comes_out_as_it_was_written(number in proptest::num::f64::NORMAL) {
            let written = serde_json::to_string(&number).unwrap_or_default();
            let read = serde_json::from_str::<Argument>(&written);
            prop_assert_eq!(read.ok(), Some(Argument(written)));
        }
    }

    #[test]
    fn strings_numbers_and_booleans_become_text() {
        for (json, text) in [
            ("\"a\\u00e9\"", "aé"),
            ("\"\"", ""),
            ("5", "5"),
            ("-5", "-5"),
            ("18446744073709551615", "18446744073709551615"),
            ("1.5", "1.5"),
            ("true", "1"),
            ("false", "0"),
        ] {
            assert_eq!(
                serde_json::from_str::<Argument>(json).ok(),
                Some(Argument(text.to_owned())),
                "{json}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_right() {
        for json in ["null", "[]", "{}", "[1]"] {
            let message = serde_json::from_str::<Argument>(json).map_err(|error| error.to_string());
            assert!(
                message
                    .as_ref()
                    .is_err_and(|m| m.contains("expected a string, a number or a boolean")),
                "{json}: {message:?}"
            );
        }
    }
}
