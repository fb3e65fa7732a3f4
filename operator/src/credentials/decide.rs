//! When a credential is replaced, one step at a time. Pure.
//!
//! | phase | in the Secret | the engine accepts | is left when |
//! | --- | --- | --- | --- |
//! | rest | current | current | a person asks, or it is old enough |
//! | prepared | current, next | current, soon next | every member accepts the next one |
//! | promoted | current, previous | both | whoever logs in was started with the current one |
//! | retiring | current, retired | current, no more the retired one | every member refuses the retired one |
//!
//! So nobody ever comes with a credential that some member does not accept yet, or no more.

/// How far the replacement of a credential is. It is in the Secret, by the keys that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is one credential.
    #[default]
    Rest,
    /// Another one is made, which nobody uses yet.
    Prepared,
    /// The other one is used from now on; the one before still holds.
    Promoted,
    /// The one before is to hold no more.
    Retiring,
}

impl Phase {
    /// As the status has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rest => "Rest",
            Self::Prepared => "Prepared",
            Self::Promoted => "Promoted",
            Self::Retiring => "Retiring",
        }
    }
}

/// What is known of a credential. What does not matter in a phase is false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was looked at")]
pub struct Observed {
    /// How far it is.
    pub phase: Phase,
    /// Whether a person asks for another one, or it is old enough.
    pub wanted: bool,
    /// Whether this is a time to begin: the hub is well, and no other credential is being replaced.
    pub may_begin: bool,
    /// Whether every member was seen to accept the next one.
    pub next_accepted: bool,
    /// Whether whoever logs in was seen to run with the current one.
    pub current_used: bool,
    /// Whether every member was seen to refuse the retired one.
    pub retired_refused: bool,
}

/// What to do with a credential: one write of its Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Make the next one.
    Prepare,
    /// Make the next one the current one; the one before still holds.
    Promote,
    /// Let the previous one hold no more.
    Retire,
    /// Forget the retired one.
    Finish,
}

/// The one next step.
pub const fn decide(observed: &Observed) -> Step {
    match observed.phase {
        Phase::Rest if observed.wanted && observed.may_begin => Step::Prepare,
        Phase::Prepared if observed.next_accepted => Step::Promote,
        Phase::Promoted if observed.current_used => Step::Retire,
        Phase::Retiring if observed.retired_refused => Step::Finish,
        Phase::Rest | Phase::Prepared | Phase::Promoted | Phase::Retiring => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_left_only_by_what_it_waits_for() {
        let all = Observed {
            phase: Phase::Rest,
            wanted: true,
            may_begin: true,
            next_accepted: true,
            current_used: true,
            retired_refused: true,
        };
        let cases = [
            (Phase::Rest, Step::Prepare, Observed { wanted: false, ..all }),
            (
                Phase::Rest,
                Step::Prepare,
                Observed {
                    may_begin: false,
                    ..all
                },
            ),
            (
                Phase::Prepared,
                Step::Promote,
                Observed {
                    next_accepted: false,
                    ..all
                },
            ),
            (
                Phase::Promoted,
                Step::Retire,
                Observed {
                    current_used: false,
                    ..all
                },
            ),
            (
                Phase::Retiring,
                Step::Finish,
                Observed {
                    retired_refused: false,
                    ..all
                },
            ),
        ];
        for (phase, step, without) in cases {
            assert_eq!(decide(&Observed { phase, ..all }), step);
            assert_eq!(decide(&Observed { phase, ..without }), Step::Rest);
        }
    }
}
