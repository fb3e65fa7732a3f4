//! Named places between two steps of a job, at which a test can let the process die.
//!
//! The tables in the module docs of the API's `accept` and `replay` and of the worker's dispatcher, runner and callbacks say what happens
//! when the process dies after a step. Each row of them is a point here, and the test `crash_points` (`tests/chaos`) kills a
//! real process at each and looks what becomes of the job.
//!
//! A point is one line, [`fail_point!`](crate::fail_point). It is checked against [`POINTS`] when it is compiled, and is
//! nothing else unless the Cargo feature `fail-points` is on: images are built without it. With it, the environment variable
//! [`VARIABLE`] says what happens where:
//!
//! ```text
//! FLICKRHUB_FAIL_POINTS="accept/after-insert=abort;run/after-claim=2*delay:500"
//! ```
//!
//! | action | does |
//! | --- | --- |
//! | `abort` | ends the process at once, as SIGKILL would: nothing is flushed, no connection is closed in order |
//! | `panic` | panics there |
//! | `delay:MILLISECONDS` | waits there |
//! | `error` | returns the error that the point names, where it names one; else nothing |
//!
//! `N*` before an action is for the first N hits; without it, for all.

/// Every point in the code, by the path of a job. A point that is not here does not compile; one that is here and in no code
/// fails the test that crashes at each.
pub const POINTS: [&str; 30] = [
    "accept/after-photo",
    "accept/before-admit",
    "accept/after-admit",
    "accept/after-insert",
    "accept/after-push",
    "replay/after-admit",
    "replay/after-mark",
    "replay/after-insert",
    "replay/after-push",
    "replay/after-note",
    "dispatch/after-release",
    "dispatch/after-update",
    "dispatch/after-publish",
    "run/after-receive",
    "run/after-claim",
    "run/after-call",
    "finish/after-transition",
    "finish/after-lanes",
    "finish/after-photo",
    "finish/after-settle",
    "retry/after-transition",
    "retry/after-lanes",
    "recover/after-requeue",
    "recover/after-end",
    "recover/after-letter",
    "rebuild/after-queued",
    "rebuild/before-generation",
    "callback/after-claim",
    "callback/after-count",
    "callback/after-delivery",
];

/// The environment variable that arms points.
pub const VARIABLE: &str = "FLICKRHUB_FAIL_POINTS";

/// Whether a point of this name is in [`POINTS`]; for the compiler to ask.
pub const fn is_listed(name: &str) -> bool {
    let mut index = 0;
    while index < POINTS.len() {
        if equal(POINTS[index].as_bytes(), name.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

/// Slices cannot be compared by `==` in a constant.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut index = 0;
    while index < one.len() {
        if one[index] != other[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A place at which a test can let the process die: `fail_point!("accept/after-insert")`, in an `async` function.
///
/// With a second argument, the action `error` returns that from the function: `fail_point!("…", Err(error))`.
#[cfg(feature = "fail-points")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {{
        const { assert!($crate::fail_point::is_listed($name), "not in POINTS") };
        let _ = $crate::fail_point::armed::hit($name).await;
    }};
    ($name:literal, $error:expr) => {{
        const { assert!($crate::fail_point::is_listed($name), "not in POINTS") };
        if $crate::fail_point::armed::hit($name).await.is_err() {
            return $error;
        }
    }};
}

/// Nothing: this build has no fail-points. The name is checked all the same.
#[cfg(not(feature = "fail-points"))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal $(, $error:expr)?) => {
        const { assert!($crate::fail_point::is_listed($name), "not in POINTS") };
    };
}

/// What a build with the feature does at a point.
#[cfg(feature = "fail-points")]
pub mod armed {
    use std::collections::HashMap;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::{POINTS, VARIABLE};

    /// The point returns its error.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Error;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Abort,
        Panic,
        Delay(Duration),
        Error,
    }

    /// An action, and how many more hits it is for.
    #[derive(Debug)]
    struct Armed {
        action: Action,
        left: AtomicU32,
    }

    type Points = HashMap<String, Armed>;

    static ARMED: OnceLock<Points> = OnceLock::new();

    /// Does what the environment says for this point.
    ///
    /// # Errors
    /// When the point is to return its error.
    ///
    /// # Panics
    /// When the point is to panic, or the environment variable makes no sense: a test that armed nothing would pass.
    pub async fn hit(name: &str) -> Result<(), Error> {
        match armed_action(name) {
            None => Ok(()),
            Some(action) => {
                eprintln!("fail point {name}: {action:?}");
                match action {
                    Action::Abort => std::process::abort(),
                    Action::Panic => panic!("fail point {name}"),
                    Action::Delay(duration) => {
                        tokio::time::sleep(duration).await;
                        Ok(())
                    }
                    Action::Error => Err(Error),
                }
            }
        }
    }

    fn armed_action(name: &str) -> Option<Action> {
        let point = ARMED.get_or_init(of_environment).get(name)?;
        let spent = point
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.is_ok().then_some(point.action)
    }

    fn of_environment() -> Points {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        parse(&text).unwrap_or_else(|problem| panic!("{VARIABLE}: {problem}"))
    }

    fn parse(text: &str) -> Result<Points, String> {
        text.split(';')
            .map(str::trim)
            .filter(|point| !point.is_empty())
            .map(|point| {
                let (name, action) = point
                    .split_once('=')
                    .ok_or_else(|| format!("{point:?} is not name=action"))?;
                if !POINTS.contains(&name) {
                    return Err(format!("there is no point {name:?}"));
                }
                let (times, action) = action.split_once('*').unwrap_or(("", action));
                let left = match times {
                    "" => u32::MAX,
                    times => times.parse().map_err(|_| format!("{times:?} is no number"))?,
                };
                let armed = Armed {
                    action: action_of(action)?,
                    left: AtomicU32::new(left),
                };
                Ok((name.to_owned(), armed))
            })
            .collect()
    }

    fn action_of(text: &str) -> Result<Action, String> {
        match text.split_once(':') {
            None if text == "abort" => Ok(Action::Abort),
            None if text == "panic" => Ok(Action::Panic),
            None if text == "error" => Ok(Action::Error),
            Some(("delay", milliseconds)) => milliseconds
                .parse()
                .map(|milliseconds| Action::Delay(Duration::from_millis(milliseconds)))
                .map_err(|_| format!("{milliseconds:?} is no number of milliseconds")),
            _ => Err(format!("{text:?} is no action")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_are_armed_by_name_with_an_action_and_a_count() {
            let points = parse("accept/after-insert=abort; run/after-claim=2*delay:500;").unwrap_or_default();
            assert_eq!(points.len(), 2);
            let claim = points.get("run/after-claim").map(|armed| armed.action);
            assert_eq!(claim, Some(Action::Delay(Duration::from_millis(500))));
        }

        #[test]
        fn what_makes_no_sense_is_refused() {
            for text in [
                "accept/after-insert",
                "accept/no-such-point=abort",
                "run/after-claim=x*abort",
                "run/after-claim=explode",
                "run/after-claim=delay:soon",
            ] {
                assert!(parse(text).is_err(), "{text}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_names_are_different_and_found_by_the_compiler() {
        let names: BTreeSet<_> = POINTS.into_iter().collect();
        assert_eq!(names.len(), POINTS.len());
        assert!(POINTS.into_iter().all(is_listed));
        assert!(!is_listed("accept/after-inser"));
        assert!(!is_listed("accept/after-insert2"));
    }
}
