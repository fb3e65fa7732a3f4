//! Whatever happens in whatever order, the status never says of now what was the case before.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Happens {
    /// Somebody changes the spec.
    Change,
    /// A part stops working, or works again.
    Turns(Part),
    /// Every part works.
    Mends,
    /// Seconds pass.
    Seconds(i64),
    /// A reconciliation that looks at everything.
    Look,
    /// One that looks at everything, while an object cannot be applied.
    LookAndFail,
    /// One that fails before it looks.
    Fail,
    /// One that finds the spec refused.
    Refuse,
    /// One that looks at everything and waits for somebody.
    Stall,
    /// One that finds the hub paused.
    Pause,
    /// An operator that is not the leader any more ends a reconciliation that it began before the last change.
    EndLate,
}

fn happens() -> impl Strategy<Value = Happens> {
    let part = proptest::sample::select(Part::ALL.to_vec());
    prop_oneof![
        2 => Just(Happens::Change),
        3 => part.prop_map(Happens::Turns),
        2 => Just(Happens::Mends),
        4 => (1..80_i64).prop_map(Happens::Seconds),
        6 => Just(Happens::Look),
        2 => Just(Happens::LookAndFail),
        5 => Just(Happens::Fail),
        1 => Just(Happens::Refuse),
        1 => Just(Happens::Stall),
        1 => Just(Happens::Pause),
        1 => Just(Happens::EndLate),
    ]
}

/// A hub and everything that is known about it.
struct World {
    now: i64,
    generation: i64,
    works: BTreeMap<Part, bool>,
    status: Option<FlickrHubStatus>,
    /// What there was before the last change: the generation, the status and what worked.
    former: Option<(i64, Option<FlickrHubStatus>, BTreeMap<Part, bool>)>,
    /// The last look at the parts that was written: the generation and what worked.
    looked: Option<(i64, BTreeMap<Part, bool>)>,
    /// When reconciliations began to fail without a look, and how many did.
    failing: Option<(i64, usize)>,
}

fn found(works: &BTreeMap<Part, bool>) -> BTreeMap<Part, PartStatus> {
    let judge = |works: bool| {
        if works {
            PartStatus::ready("It runs.")
        } else {
            PartStatus::waiting("Away", "It is away.", Duration::from_secs(1))
        }
    };
    works.iter().map(|(part, works)| (*part, judge(*works))).collect()
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            generation: 1,
            works: Part::ALL.into_iter().map(|part| (part, false)).collect(),
            status: None,
            former: None,
            looked: None,
            failing: None,
        }
    }

    fn write(&mut self, outcome: &Outcome) {
        let now = Timestamp::from_second(self.now).unwrap_or_default();
        self.status = Some(status(self.status.as_ref(), self.generation, None, outcome, now));
    }

    fn look(&mut self, outcome: &Outcome) {
        self.looked = Some((self.generation, self.works.clone()));
        self.failing = None;
        self.write(outcome);
    }

    fn happen(&mut self, event: Happens) {
        let (reason, message) = ("ApplyFailed", "It fails.".to_owned());
        match event {
            Happens::Change => {
                self.former = Some((self.generation, self.status.clone(), self.works.clone()));
                self.generation += 1;
            }
            Happens::Turns(part) => {
                self.works.entry(part).and_modify(|works| *works = !*works);
            }
            Happens::Mends => self.works.values_mut().for_each(|works| *works = true),
            Happens::Seconds(seconds) => self.now += seconds,
            Happens::Look => self.look(&Outcome::Applied(found(&self.works))),
            Happens::LookAndFail => {
                let parts = found(&self.works);
                self.look(&Outcome::Failed {
                    reason,
                    message,
                    parts,
                });
            }
            Happens::Fail => {
                let (since, count) = self.failing.unwrap_or((self.now, 0));
                self.failing = Some((since, count + 1));
                let parts = BTreeMap::new();
                self.write(&Outcome::Failed {
                    reason,
                    message,
                    parts,
                });
            }
            Happens::Refuse => {
                self.looked = None;
                let parts = BTreeMap::new();
                self.write(&Outcome::Stalled {
                    reason,
                    message,
                    parts,
                });
            }
            Happens::Stall => {
                let parts = found(&self.works);
                self.look(&Outcome::Stalled {
                    reason,
                    message,
                    parts,
                });
            }
            Happens::Pause => {
                self.looked = None;
                self.write(&Outcome::Paused);
            }
            Happens::EndLate => {
                if let Some((generation, before, works)) = self.former.take() {
                    let now = Timestamp::from_second(self.now).unwrap_or_default();
                    let outcome = Outcome::Applied(found(&works));
                    self.status = Some(status(before.as_ref(), generation, None, &outcome, now));
                    self.looked = Some((generation, works));
                    self.failing = None;
                }
            }
        }
    }

    fn is(&self, type_: &str, truth: &str) -> bool {
        condition(self.status.as_ref(), type_).is_some_and(|condition| condition.status == truth)
    }

    /// Whether failures are so new that what was found before them still counts.
    fn failures_are_new(&self) -> bool {
        let patience = i64::try_from(KEEP_READY.as_secs()).unwrap_or(i64::MAX);
        // What is written holds until the next write.
        self.failing
            .is_none_or(|(since, count)| count < 2 || self.now - since < patience)
    }

    fn check(&self, written: bool) -> Result<(), TestCaseError> {
        let Some(status) = &self.status else {
            return Ok(());
        };
        let mut types: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
        types.sort_unstable();
        types.dedup();
        prop_assert_eq!(types.len(), status.conditions.len(), "each condition once");
        prop_assert!(!(self.is(STALLED, "True") && self.is(RECONCILING, "True")));
        let Some(ready) = condition(self.status.as_ref(), READY) else {
            prop_assert!(false, "there is always a condition Ready");
            return Ok(());
        };
        prop_assert_eq!(ready.observed_generation, status.observed_generation);
        if !written {
            return Ok(());
        }
        let everything_worked = |(generation, works): &(i64, BTreeMap<Part, bool>)| {
            Some(*generation) == status.observed_generation && works.values().all(|works| *works)
        };
        if ready.status == "True" {
            prop_assert!(!self.is(STALLED, "True"));
            prop_assert!(self.looked.as_ref().is_some_and(everything_worked));
            prop_assert!(
                self.failures_are_new(),
                "failing since {:?}, now {}",
                self.failing,
                self.now
            );
        }
        for part in Part::ALL
            .into_iter()
            .filter(|part| self.is(part.condition(), "True"))
        {
            let looked = self.looked.as_ref().map(|(_, works)| works.get(&part));
            prop_assert_eq!(looked, Some(Some(&true)), "{:?}", part);
            prop_assert!(self.failures_are_new(), "{:?}", part);
        }
        Ok(())
    }

    /// Whether a tool that waits by kstatus goes on.
    fn seems_current(&self) -> bool {
        let observed = self.status.as_ref().and_then(|status| status.observed_generation);
        observed == Some(self.generation)
            && !self.is(RECONCILING, "True")
            && !self.is(STALLED, "True")
            && self.is(READY, "True")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn ready_is_only_what_was_found_so_with_the_settings_of_now(
        events in proptest::collection::vec(happens(), 1..60),
    ) {
        let mut world = World::new();
        for event in events {
            let is_written = match event {
                Happens::Change | Happens::Turns(_) | Happens::Mends | Happens::Seconds(_) => false,
                Happens::EndLate => world.former.is_some(),
                _ => true,
            };
            world.happen(event);
            world.check(is_written)?;
            match event {
                Happens::Change => prop_assert!(!world.seems_current(), "the status of before is not that of now"),
                Happens::Look => {
                    let works = world.works.values().all(|works| *works);
                    prop_assert_eq!(world.seems_current(), works);
                }
                _ => {}
            }
        }
    }
}
