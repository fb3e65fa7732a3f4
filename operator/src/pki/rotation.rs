//! When an authority is replaced, one step at a time. Pure.
//!
//! | step | trusted | signs | is left when |
//! | --- | --- | --- | --- |
//! | rest | current | current | the authority is old, or a person asks |
//! | prepared | current, next | current | every pod was started with both |
//! | promoted | previous, current | current | every server shows a certificate of the new one |
//!
//! So a server never shows a certificate whose authority some client does not know yet, or no more.

use jiff::Timestamp;

/// What is known of the authorities and of those that trust them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was looked at")]
pub struct Observed {
    /// When the current authority is to be replaced; `None`: there is none.
    pub renew_at: Option<Timestamp>,
    /// Whether its successor is prepared.
    pub has_next: bool,
    /// Whether its predecessor is still trusted.
    pub has_previous: bool,
    /// Whether a person asks for another authority, and was not heard yet.
    pub requested: bool,
    /// Whether every pod runs with the authorities as they are now.
    pub all_trust: bool,
    /// Whether every server was seen to show a certificate of the current authority.
    pub all_renewed: bool,
}

/// What to do with the authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Rest,
    /// Make the first one.
    Create,
    /// Make a successor, which is trusted and does not sign.
    Prepare,
    /// Let the successor sign; the predecessor stays trusted.
    Promote,
    /// Trust the predecessor no more.
    Retire,
}

/// The one next step.
pub fn decide(observed: &Observed, now: Timestamp) -> Step {
    let Some(renew_at) = observed.renew_at else {
        return Step::Create;
    };
    if observed.has_previous {
        // The authorities have to be what every pod knows before they change again.
        return if observed.all_trust && observed.all_renewed {
            Step::Retire
        } else {
            Step::Rest
        };
    }
    if observed.has_next {
        return if observed.all_trust {
            Step::Promote
        } else {
            Step::Rest
        };
    }
    if observed.requested || renew_at <= now {
        Step::Prepare
    } else {
        Step::Rest
    }
}
