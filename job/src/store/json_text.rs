//! A job's result as JSON text in one BSON string: `#[serde(with = "crate::store::json_text")]`.
//!
//! Flickr's answers are stored as they came (of a fraction with more than 15 digits the last bits may change). BSON could not hold all of them: it has no unsigned 64-bit numbers, no
//! NUL in a key, 100 levels of nesting, and MongoDB gives keys with `$` and `.` a meaning in updates. Nobody queries
//! inside a result, so text costs nothing.

use serde::{Deserialize, Deserializer, Serializer, de, ser};
use serde_json::Value;

use super::StoreError;

/// The longest result that is stored, in bytes of JSON text: 5 MiB, so that with the largest request (10 MB) the
/// document stays under MongoDB's limit of 16 MiB.
pub const MAX_RESULT_BYTES: usize = 5 * 1024 * 1024;

/// The text that is stored.
///
/// # Errors
/// [`StoreError::ResultTooLarge`].
pub(super) fn encode(result: &Value) -> Result<String, StoreError> {
    let text = result.to_string();
    if text.len() > MAX_RESULT_BYTES {
        return Err(StoreError::ResultTooLarge { bytes: text.len() });
    }
    Ok(text)
}

/// Writes a string or null.
pub fn serialize<S: Serializer>(result: &Option<Value>, serializer: S) -> Result<S::Ok, S::Error> {
    match result {
        Some(value) => serializer.serialize_some(&encode(value).map_err(ser::Error::custom)?),
        None => serializer.serialize_none(),
    }
}

/// Reads a string or null.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Option::<String>::deserialize(deserializer)?
        .map(|text| serde_json::from_str(&text).map_err(de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::{Number, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Stored {
        #[serde(with = "crate::store::json_text")]
        result: Option<Value>,
    }

    fn read_back(result: Option<Value>) -> Option<Stored> {
        let bytes = bson::serialize_to_vec(&Stored { result }).ok()?;
        bson::deserialize_from_slice(&bytes).ok()
    }

    /// Any JSON, with the keys and numbers that BSON cannot hold. Fractions have few digits, as Flickr's have: the
    /// last bit of others may differ when they are parsed.
    fn any_json() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            Just("$oid".to_owned()),
            Just("a.b".to_owned()),
            Just(String::new()),
            ".{0,8}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-180_000_000..180_000_000_i32).prop_map(|micro| json!(f64::from(micro) / 1e6)),
            ".{0,16}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_json_value_is_read_back_as_it_was(value in any_json()) {
            prop_assert_eq!(read_back(Some(value.clone())), Some(Stored { result: Some(value) }));
        }

        #[test]
        fn any_fraction_is_read_back_but_for_its_last_bits(number in -1e300..1e300_f64) {
            let back = read_back(Number::from_f64(number).map(Value::Number));
            let back = back.and_then(|stored| stored.result?.as_f64()).unwrap_or(f64::NAN);
            prop_assert!((back - number).abs() <= number.abs() * 4.0 * f64::EPSILON, "{} → {}", number, back);
        }
    }

    #[test]
    fn no_result_is_told_from_the_result_null() {
        assert_eq!(read_back(None), Some(Stored { result: None }));
        assert_eq!(
            read_back(Some(Value::Null)),
            Some(Stored {
                result: Some(Value::Null)
            })
        );
    }

    #[test]
    fn a_result_that_is_too_long_is_refused_with_its_length() {
        let error = encode(&Value::from("x".repeat(MAX_RESULT_BYTES)));
        assert!(matches!(error, Err(StoreError::ResultTooLarge { bytes }) if bytes == MAX_RESULT_BYTES + 2));
        assert!(encode(&Value::from("x".repeat(MAX_RESULT_BYTES - 2))).is_ok());
    }
}
