//! Amounts in Kubernetes' notation: `500m`, `2`, `8Gi`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// An amount as it was written. [`Quantity::nanos`] gives its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

/// The text is no amount.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an amount; write for example 500m, 2 or 8Gi")]
pub struct InvalidQuantity(String);

impl Quantity {
    /// An amount as it was written; not checked yet.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value in billionths of the unit, rounded down.
    ///
    /// # Errors
    /// When the text is not a non-negative amount in Kubernetes' notation, or is too large to count.
    pub fn nanos(&self) -> Result<i128, InvalidQuantity> {
        parse(&self.0).ok_or_else(|| InvalidQuantity(self.0.clone()))
    }

    /// The value in whole units, rounded down: bytes of memory, for example.
    ///
    /// # Errors
    /// As [`Quantity::nanos`].
    pub fn units(&self) -> Result<u64, InvalidQuantity> {
        u64::try_from(self.nanos()? / NANOS).map_err(|_| InvalidQuantity(self.0.clone()))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const NANOS: i128 = 1_000_000_000;

/// Billionths that one of the suffix stands for.
fn scale(suffix: &str) -> Option<i128> {
    let binary = |power: u32| NANOS.checked_mul(1024_i128.checked_pow(power)?);
    let decimal = |power: u32| NANOS.checked_mul(1000_i128.checked_pow(power)?);
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(NANOS),
        "k" => decimal(1),
        "M" => decimal(2),
        "G" => decimal(3),
        "T" => decimal(4),
        "P" => decimal(5),
        "E" => decimal(6),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            NANOS.checked_mul(10_i128.checked_pow(exponent)?)
        }
    }
}

fn parse(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 18 {
        return None;
    }
    let digits = |digits: &str| {
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse::<i128>().ok()
        }
    };
    let denominator = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let whole = digits(whole)?.checked_mul(scale)?;
    let fraction = digits(fraction)?.checked_mul(scale)? / denominator;
    whole.checked_add(fraction)
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;

        impl Visitor<'_> for Amount {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 500m, 2 or 8Gi")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity::new(text))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Quantity, E> {
                Ok(Quantity::new(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Quantity, E> {
                Ok(Quantity::new(number.to_string()))
            }
        }

        deserializer.deserialize_any(Amount)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": "^([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][0-9]+)?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_as_kubernetes_reads_it() {
        let cases = [
            ("1", 1_000_000_000),
            ("100m", 100_000_000),
            ("0.5", 500_000_000),
            (".5", 500_000_000),
            ("1.5Ki", 1_536_000_000_000),
            ("2k", 2_000_000_000_000),
            ("1e3", 1_000_000_000_000),
            ("5n", 5),
        ];
        for (text, nanos) in cases {
            assert_eq!(Quantity::new(text).nanos(), Ok(nanos), "{text}");
        }
        assert_eq!(Quantity::new("8Gi").units(), Ok(8 << 30));
    }

    #[test]
    fn what_is_no_amount_is_refused_with_one_that_is() {
        for text in [
            "",
            ".",
            "Gi",
            "-1",
            "1 Gi",
            "1gi",
            "99999999999999999999999999999999999999Ei",
        ] {
            assert!(Quantity::new(text).nanos().is_err(), "{text:?}");
        }
        assert_eq!(
            InvalidQuantity("1gb".to_owned()).to_string(),
            "\"1gb\" is not an amount; write for example 500m, 2 or 8Gi"
        );
    }

    #[test]
    fn a_plain_number_is_an_amount() {
        assert_eq!(
            serde_json::from_str::<Quantity>("2").ok(),
            Some(Quantity::new("2"))
        );
    }
}
