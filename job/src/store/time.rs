//! [`jiff::Timestamp`] as a BSON date: `#[serde(with = "crate::store::time")]`.
//!
//! A BSON date counts milliseconds since 1970. Take the time from [`now`] where it is stored, so that what is kept in
//! memory equals what is read back.

use bson::DateTime;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The present time by this process's clock, in whole milliseconds.
pub fn now() -> Timestamp {
    from_bson(to_bson(Timestamp::now())).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The BSON date of a time; parts of a millisecond are cut off.
pub fn to_bson(time: Timestamp) -> DateTime {
    DateTime::from_millis(time.as_millisecond())
}

/// The time of a BSON date, unless it is beyond the years that [`Timestamp`] knows (-9999 to 9999).
pub fn from_bson(date: DateTime) -> Option<Timestamp> {
    Timestamp::from_millisecond(date.timestamp_millis()).ok()
}

/// Writes a BSON date.
pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    to_bson(*time).serialize(serializer)
}

/// Reads a BSON date.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    read(DateTime::deserialize(deserializer)?)
}

fn read<E: de::Error>(date: DateTime) -> Result<Timestamp, E> {
    from_bson(date).ok_or_else(|| E::custom("a date beyond the year 9999"))
}

/// The same for a time that may be missing: null.
pub mod option {
    use super::{DateTime, Deserialize, Deserializer, Serialize, Serializer, Timestamp, read, to_bson};

    /// Writes a BSON date or null.
    pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(to_bson).serialize(serializer)
    }

    /// Reads a BSON date or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<DateTime>::deserialize(deserializer)?
            .map(read)
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "crate::store::time")]
        at: Timestamp,
        #[serde(with = "crate::store::time::option")]
        perhaps: Option<Timestamp>,
    }

    proptest! {
        #[test]
        fn whole_milliseconds_are_read_back(
            at in Timestamp::MIN.as_millisecond()..=Timestamp::MAX.as_millisecond(),
            perhaps in proptest::option::of(0_i64..4_102_444_800_000),
        ) {
            let times = Times {
                at: from_bson(DateTime::from_millis(at)).unwrap_or_default(),
                perhaps: perhaps.and_then(|at| from_bson(DateTime::from_millis(at))),
            };
            let bytes = bson::serialize_to_vec(&times).unwrap_or_default();
            prop_assert_eq!(bson::deserialize_from_slice::<Times>(&bytes).ok(), Some(times));
        }
    }

    #[test]
    fn a_time_is_a_date_in_bson() {
        let times = Times {
            at: Timestamp::UNIX_EPOCH,
            perhaps: None,
        };
        let expected = doc! { "at": DateTime::from_millis(0), "perhaps": Bson::Null };
        assert_eq!(bson::serialize_to_document(&times).ok(), Some(expected));
    }

    #[test]
    fn what_now_answers_is_not_changed_by_storing_it() {
        let time = now();
        assert_eq!(from_bson(to_bson(time)), Some(time));
    }

    #[test]
    fn a_date_beyond_the_calendar_is_an_error() {
        let document = doc! { "at": DateTime::from_millis(i64::MAX), "perhaps": Bson::Null };
        assert!(bson::deserialize_from_document::<Times>(document).is_err());
    }
}
