//! The circuit breaker as a pure decision: what the scripts in Redis do with one circuit, in plain Rust.
//!
//! ```text
//! closed ── a 429, or too many failures ──▶ open ── its time is over ──▶ half-open ── the probe succeeds ──▶ closed
//!                                            ▲                              │
//!                                            └──── the probe fails ─────────┘  (for twice as long)
//! ```
//!
//! The state that counts is in Redis, shared by every worker; this is its specification. Tests run random histories
//! through both and compare every answer.

use serde::{Deserialize, Serialize};

/// Parts of the window over which failures are counted; as many as [`Breaker`] has slots.
const SLOTS: u64 = 6;

/// Openings after which the time does not double any more, whatever the longest is.
const MOST_OPENINGS: u32 = 32;

/// When circuits open, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BreakerConfig {
    /// Seconds over which failures are counted.
    pub window_seconds: u32,
    /// Requests within the window below which no share of failures means anything.
    pub min_requests: u32,
    /// The share of failures, in percent, from which on the circuit opens.
    pub failure_percent: u32,
    /// Seconds for which it opens the first time; twice as many each time that the probe fails.
    pub open_seconds: u32,
    /// Most seconds for which it opens by itself. Flickr's `Retry-After` may ask for more.
    pub longest_open_seconds: u32,
    /// Seconds after which a probe that was not heard of is given up and another one sent.
    pub probe_lease_seconds: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window_seconds: 30,
            min_requests: 20,
            failure_percent: 50,
            open_seconds: 10,
            longest_open_seconds: 300,
            probe_lease_seconds: 60,
        }
    }
}

impl BreakerConfig {
    /// Whether nothing is changed.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The first setting with which a circuit would never open, or never close again; `None` if there is none.
    #[must_use]
    pub const fn wrong(&self) -> Option<&'static str> {
        if self.window_seconds == 0 {
            return Some("windowSeconds");
        }
        if self.min_requests == 0 {
            return Some("minRequests");
        }
        if self.failure_percent == 0 || self.failure_percent > 100 {
            return Some("failurePercent");
        }
        if self.open_seconds == 0 {
            return Some("openSeconds");
        }
        if self.longest_open_seconds < self.open_seconds {
            return Some("longestOpenSeconds");
        }
        if self.probe_lease_seconds == 0 {
            return Some("probeLeaseSeconds");
        }
        None
    }
}

/// What a circuit lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// Every request.
    Closed,
    /// One request, the probe.
    Due,
    /// Nothing until then (milliseconds since 1970).
    Open(u64),
    /// Nothing until the probe is heard of, or then at the latest.
    HalfOpen(u64),
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Requests that Flickr answered, if only to refuse what was asked.
    pub succeeded: u32,
    /// Requests that got no answer, or 5xx, or an error that says that Flickr is not available.
    pub failed: u32,
    /// Flickr answered 429 to the last of them, and asked to wait this long, in milliseconds.
    pub limited: Option<u64>,
    /// The last of them was the probe.
    pub probe: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    number: u64,
    succeeded: u64,
    failed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: u64,
        openings: u32,
    },
    HalfOpen {
        until: u64,
        openings: u32,
    },
}

/// One circuit. Times are milliseconds since 1970 and never go back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    slots: [Slot; 6],
}

impl Breaker {
    /// What it lets through at `now`.
    #[must_use]
    pub const fn stance(&self, now: u64) -> Stance {
        match self.state {
            State::Closed => Stance::Closed,
            State::Open { until, .. } if now < until => Stance::Open(until),
            State::HalfOpen { until, .. } if now < until => Stance::HalfOpen(until),
            State::Open { .. } | State::HalfOpen { .. } => Stance::Due,
        }
    }

    /// Lets a request through if it may; whether it is the probe.
    pub fn let_through(&mut self, now: u64, config: &BreakerConfig) -> Option<bool> {
        match (self.stance(now), self.state) {
            (Stance::Closed, _) => Some(false),
            (Stance::Due, State::Open { openings, .. } | State::HalfOpen { openings, .. }) => {
                let until = now + seconds(config.probe_lease_seconds);
                self.state = State::HalfOpen { until, openings };
                Some(true)
            }
            _ => None,
        }
    }

    /// Takes in how requests ended. `jitter`, in thousandths, lengthens the time for which it opens.
    pub fn take_in(&mut self, now: u64, ended: Ended, jitter: u32, config: &BreakerConfig) {
        let judged = ended.probe && matches!(self.state, State::HalfOpen { .. });
        match (ended.limited, self.state) {
            (Some(asked), State::Closed) => self.open(now, asked, jitter, config),
            (Some(asked), _) if judged => self.open(now, asked, jitter, config),
            // It was sent before the circuit opened, which only may have to stay open for longer.
            (Some(asked), State::Open { until, openings } | State::HalfOpen { until, openings }) => {
                if now + asked > until {
                    let until = now + asked;
                    self.state = State::Open { until, openings };
                }
            }
            (None, _) if judged && ended.failed > 0 => self.open(now, 0, jitter, config),
            (None, _) if judged => *self = Self::default(),
            (None, State::Closed) => {
                if self.too_many_failed(now, ended, config) {
                    self.open(now, 0, jitter, config);
                }
            }
            (None, _) => {}
        }
    }

    /// Opens for at least `least` milliseconds.
    fn open(&mut self, now: u64, least: u64, jitter: u32, config: &BreakerConfig) {
        let openings = match self.state {
            State::Closed => 1,
            State::Open { openings, .. } | State::HalfOpen { openings, .. } => {
                (openings + 1).min(MOST_OPENINGS)
            }
        };
        let doubled = seconds(config.open_seconds).saturating_mul(1 << (openings - 1));
        let lasts = doubled.min(seconds(config.longest_open_seconds));
        let lasts = (lasts * (1000 + u64::from(jitter)) / 1000).max(least);
        *self = Self {
            state: State::Open {
                until: now + lasts,
                openings,
            },
            ..Self::default()
        };
    }

    fn too_many_failed(&mut self, now: u64, ended: Ended, config: &BreakerConfig) -> bool {
        let number = now * SLOTS / seconds(config.window_seconds.max(1));
        let slot = &mut self.slots[usize::try_from(number % SLOTS).unwrap_or_default()];
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.succeeded += u64::from(ended.succeeded);
        slot.failed += u64::from(ended.failed);
        let counted = self.slots.iter().filter(|slot| slot.number + SLOTS > number);
        let (all, failed) = counted.fold((0, 0), |(all, failed), slot| {
            (all + slot.succeeded + slot.failed, failed + slot.failed)
        });
        ended.failed > 0
            && all >= u64::from(config.min_requests)
            && 100 * failed >= u64::from(config.failure_percent) * all
    }
}

fn seconds(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn failed(failed: u32) -> Ended {
        Ended {
            failed,
            ..Ended::default()
        }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        breaker.take_in(NOW, failed(20), 0, &BreakerConfig::default());
        breaker
    }

    #[test]
    fn half_of_twenty_requests_open_it_for_ten_seconds() {
        let config = BreakerConfig::default();
        let mut breaker = Breaker::default();
        let succeeded = Ended {
            succeeded: 10,
            ..Ended::default()
        };
        breaker.take_in(NOW, succeeded, 0, &config);
        breaker.take_in(NOW + 4_000, failed(9), 0, &config);
        assert_eq!(breaker.stance(NOW + 4_000), Stance::Closed);
        breaker.take_in(NOW + 5_000, failed(1), 0, &config);
        assert_eq!(breaker.stance(NOW + 5_000), Stance::Open(NOW + 15_000));
        assert_eq!(breaker.let_through(NOW + 14_999, &config), None);
    }

    #[test]
    fn failures_of_long_ago_do_not_count() {
        let config = BreakerConfig::default();
        let mut breaker = Breaker::default();
        breaker.take_in(NOW, failed(19), 0, &config);
        breaker.take_in(NOW + 30_000, failed(1), 0, &config);
        assert_eq!(breaker.stance(NOW + 30_000), Stance::Closed);
    }

    #[test]
    fn one_429_opens_it_for_as_long_as_flickr_asks() {
        let mut breaker = Breaker::default();
        let limited = Ended {
            failed: 1,
            limited: Some(120_000),
            ..Ended::default()
        };
        breaker.take_in(NOW, limited, 0, &BreakerConfig::default());
        assert_eq!(breaker.stance(NOW), Stance::Open(NOW + 120_000));
    }

    #[test]
    fn one_probe_is_let_through_and_closes_it_when_it_succeeds() {
        let config = BreakerConfig::default();
        let mut breaker = opened();
        assert_eq!(breaker.let_through(NOW + 10_000, &config), Some(true));
        assert_eq!(breaker.let_through(NOW + 10_000, &config), None);
        let success = Ended {
            succeeded: 1,
            probe: true,
            ..Ended::default()
        };
        breaker.take_in(NOW + 10_500, success, 0, &config);
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_probe_that_dies_makes_room_for_another_one() {
        let config = BreakerConfig::default();
        let mut breaker = opened();
        assert_eq!(breaker.let_through(NOW + 10_000, &config), Some(true));
        assert_eq!(breaker.let_through(NOW + 69_999, &config), None);
        assert_eq!(breaker.let_through(NOW + 70_000, &config), Some(true));
    }

    #[test]
    fn it_opens_for_twice_as_long_each_time_up_to_the_longest() {
        let config = BreakerConfig::default();
        let mut breaker = opened();
        let mut now = NOW + 10_000;
        let lasting: Vec<u64> = (0..7)
            .map(|_| {
                assert_eq!(breaker.let_through(now, &config), Some(true));
                let probe = Ended {
                    probe: true,
                    ..failed(1)
                };
                breaker.take_in(now, probe, 0, &config);
                let Stance::Open(until) = breaker.stance(now) else {
                    panic!("{breaker:?}");
                };
                let lasts = until - now;
                now = until;
                lasts / 1000
            })
            .collect();
        assert_eq!(lasting, [20, 40, 80, 160, 300, 300, 300]);
    }

    proptest! {
        #[test]
        fn never_is_more_than_one_probe_out(
            steps in prop::collection::vec((0..40_000_u64, 0..4_u8, any::<bool>(), 0..100_u32), 1..200),
        ) {
            let config = BreakerConfig::default();
            let (mut breaker, mut now, mut probe_until) = (Breaker::default(), NOW, 0);
            for (pause, what, probe, jitter) in steps {
                now += pause;
                match what {
                    0 | 1 => if breaker.let_through(now, &config) == Some(true) {
                        prop_assert!(now >= probe_until);
                        probe_until = now + 60_000;
                    },
                    _ => {
                        let ended = Ended { probe, limited: (what == 2).then_some(pause), ..failed(7) };
                        if probe {
                            probe_until = 0;
                        }
                        breaker.take_in(now, ended, jitter, &config);
                    }
                }
            }
        }

        /// Who is refused by an open circuit is told for how long, in whole seconds.
        #[test]
        fn who_waits_as_told_may_send_a_request(
            steps in prop::collection::vec((0..40_000_u64, any::<bool>(), 0..100_u32, prop::option::of(0..90_000_u64)), 1..100),
        ) {
            let config = BreakerConfig::default();
            let (mut breaker, mut now) = (Breaker::default(), NOW);
            for (pause, probe, jitter, limited) in steps {
                now += pause;
                breaker.take_in(now, Ended { limited, probe, ..failed(20) }, jitter, &config);
                let Stance::Open(until) = breaker.stance(now) else {
                    continue;
                };
                let told = (until - now).div_ceil(1_000) * 1_000;
                prop_assert_eq!(breaker.clone().let_through(now + told, &config), Some(true));
                prop_assert_eq!(breaker.let_through(until - 1, &config), None);
                if probe {
                    now += told;
                    breaker.let_through(now, &config);
                }
            }
        }

        #[test]
        fn it_never_stays_shut_for_ever(
            steps in prop::collection::vec((0..40_000_u64, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let config = BreakerConfig::default();
            let (mut breaker, mut now) = (Breaker::default(), NOW);
            for (pause, probe, ask) in steps {
                now += pause;
                if ask {
                    breaker.let_through(now, &config);
                } else {
                    breaker.take_in(now, Ended { probe, ..failed(20) }, 100, &config);
                }
                prop_assert!(breaker.let_through(now + 330_000, &config).is_some());
                // That question was only asked of a copy's future: the next step is not before it.
                now += 330_000;
            }
        }
    }
}
