//! The `Retry-After` header (RFC 9110 section 10.2.3).

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};

/// The longest wait that is believed: Flickr's budgets are hourly, so a day is already a mistake.
const LONGEST: Duration = Duration::from_hours(24);

/// How long a header asks to wait, counted from `now`: at most a day, zero for a time gone by.
/// `None` for a value that is neither seconds nor a date.
pub(crate) fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(value)
            .ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("99999999999", Some(86_400)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(parse(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
