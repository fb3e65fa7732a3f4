//! A limit of so many events in any hour, judged against the exact log of what it let through.
//!
//! Whether an event was let through rightly depends on those before it, and those that were refused wrongly leave room
//! that a limit of its own would not have. So the judge keeps the log of what the limit under test let through: an event
//! is *over* when the log holds `limit` events of the hour before it and it is let through all the same, and *under* when
//! the log holds fewer and it is refused.

use std::collections::{HashMap, VecDeque};

use crate::Failure;

/// An hour in milliseconds.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// A limit under test; `at_ms` never goes back.
pub(crate) trait Limit {
    /// Whether an event of `subject` (a user, an application) at this time is let through, which counts it.
    async fn admits(&mut self, subject: &str, at_ms: u64) -> Result<bool, Failure>;
}

/// What the judge found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Events that were let through.
    pub(crate) admitted: usize,
    /// Events that the exact log lets through, given what was let through before.
    pub(crate) admissible: usize,
    /// Let through although the hour before was full.
    pub(crate) over: usize,
    /// Refused although the hour before was not full.
    pub(crate) under: usize,
}

/// The exact log.
#[derive(Debug)]
pub(crate) struct Judge {
    limit: usize,
    log: HashMap<String, VecDeque<u64>>,
    verdict: Verdict,
}

impl Judge {
    /// A judge of a limit of so many events in any hour.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            log: HashMap::new(),
            verdict: Verdict::default(),
        }
    }

    /// Puts one event to the limit and judges its answer.
    ///
    /// # Errors
    /// Those of the limit.
    pub(crate) async fn put(
        &mut self,
        limit: &mut impl Limit,
        subject: &str,
        at_ms: u64,
    ) -> Result<bool, Failure> {
        let admitted = limit.admits(subject, at_ms).await?;
        self.note(subject, at_ms, admitted);
        Ok(admitted)
    }

    /// The verdict so far.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn note(&mut self, subject: &str, at_ms: u64, admitted: bool) {
        if !self.log.contains_key(subject) {
            self.log.insert(subject.to_owned(), VecDeque::new());
        }
        let Some(log) = self.log.get_mut(subject) else {
            return;
        };
        while log.front().is_some_and(|first| first + HOUR_MS <= at_ms) {
            log.pop_front();
        }
        let admissible = log.len() < self.limit;
        self.verdict.admissible += usize::from(admissible);
        self.verdict.over += usize::from(admitted && !admissible);
        self.verdict.under += usize::from(!admitted && admissible);
        if admitted {
            self.verdict.admitted += 1;
            log.push_back(at_ms);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const LIMIT: usize = 10;

    /// The exact window.
    #[derive(Default)]
    struct Exact(VecDeque<u64>);

    impl Limit for Exact {
        async fn admits(&mut self, _: &str, at_ms: u64) -> Result<bool, Failure> {
            while self.0.front().is_some_and(|first| first + HOUR_MS <= at_ms) {
                self.0.pop_front();
            }
            let admits = self.0.len() < LIMIT;
            if admits {
                self.0.push_back(at_ms);
            }
            Ok(admits)
        }
    }

    /// Counts by the hour of the clock: twice the limit around a full hour.
    #[derive(Default)]
    struct Fixed(u64, usize);

    impl Limit for Fixed {
        async fn admits(&mut self, _: &str, at_ms: u64) -> Result<bool, Failure> {
            let hour = at_ms / HOUR_MS;
            if hour != self.0 {
                *self = Self(hour, 0);
            }
            self.1 += 1;
            Ok(self.1 <= LIMIT)
        }
    }

    async fn judged(mut limit: impl Limit) -> Verdict {
        let mut judge = Judge::new(LIMIT);
        for minute in 0..600 {
            judge.put(&mut limit, "u", minute * 60_000).await.unwrap();
        }
        judge.verdict()
    }

    #[tokio::test]
    async fn the_exact_window_is_neither_over_nor_under() {
        let verdict = judged(Exact::default()).await;
        assert_eq!((verdict.over, verdict.under), (0, 0));
        assert_eq!(verdict.admitted, 100);
        assert_eq!(verdict.admissible, 100);
    }

    #[tokio::test]
    async fn a_counter_that_begins_anew_each_hour_is_found_out() {
        let mut judge = Judge::new(LIMIT);
        let mut limit = Fixed::default();
        for second in 3590..3610 {
            judge.put(&mut limit, "u", second * 1000).await.unwrap();
        }
        assert_eq!(judge.verdict().over, LIMIT);
    }

    #[tokio::test]
    async fn a_limit_that_refuses_too_much_is_found_out() {
        struct Never;
        impl Limit for Never {
            async fn admits(&mut self, _: &str, _: u64) -> Result<bool, Failure> {
                Ok(false)
            }
        }
        assert_eq!(judged(Never).await.under, 600);
    }
}
