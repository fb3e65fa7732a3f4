//! What jobs of every kind may ask for: priority, callback, expiry.

use std::time::Duration;

use flickrhub_job::callback::AddressPolicy;
use flickrhub_job::model::Priority;
use url::Url;

/// The longest time in seconds until a job must have been started: a week.
const MAX_EXPIRES_IN: i64 = 7 * 86_400;
/// The longest address in bytes that the hub keeps for a client.
pub(super) const MAX_URL: usize = 2_048;

/// How a job is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// Its order among the user's other jobs.
    pub priority: Priority,
    /// Where to tell that it is finished.
    pub callback_url: Option<Url>,
    /// How long after acceptance it must have been started; the hub's default without it.
    pub expires_in: Option<Duration>,
}

/// A callback address that the hub may call.
pub(super) fn callback_url(text: &str, policy: &AddressPolicy) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("has more than {MAX_URL} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    policy.check_url(&url).map_err(|error| error.to_string())?;
    Ok(url)
}

/// Seconds from acceptance until a job must have been started.
pub(super) fn expires_in(seconds: i64) -> Result<Duration, String> {
    match u64::try_from(seconds) {
        Ok(positive) if (1..=MAX_EXPIRES_IN).contains(&seconds) => Ok(Duration::from_secs(positive)),
        _ => Err(format!("is a number of seconds from 1 to {MAX_EXPIRES_IN}")),
    }
}

/// A priority by its name.
pub(super) fn priority(text: &str) -> Result<Priority, &'static str> {
    match text {
        "high" => Ok(Priority::High),
        "normal" => Ok(Priority::Normal),
        "low" => Ok(Priority::Low),
        _ => Err("is one of high, normal, low"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_waits_between_a_second_and_a_week() {
        for (seconds, fits) in [
            (i64::MIN, false),
            (-1, false),
            (0, false),
            (1, true),
            (604_800, true),
            (604_801, false),
        ] {
            assert_eq!(expires_in(seconds).is_ok(), fits, "{seconds}");
        }
    }

    #[test]
    fn a_callback_goes_to_a_public_https_address_only() {
        let policy = AddressPolicy::new(Vec::new());
        assert!(callback_url("https://example.com/hook?a=1", &policy).is_ok());
        for text in [
            "",
            "example.com/hook",
            "ftp://example.com/",
            "http://example.com/hook",
            "https://user:secret@example.com/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.1/",
        ] {
            assert!(callback_url(text, &policy).is_err(), "{text}");
        }
        assert!(callback_url(&format!("https://example.com/{}", "a".repeat(MAX_URL)), &policy).is_err());
    }
}
