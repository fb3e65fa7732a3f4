//! Whether Flickr is left alone at the moment, as an accepted job's answer tells it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderName;
use flickrhub_job::budget::{CircuitState, CircuitView, Endpoint, FlickrBudget, Standing};
use flickrhub_job::model::Job;

/// The header: present only while the circuit of the job's application is open.
pub const CIRCUIT: HeaderName = HeaderName::from_static("flickrhub-circuit");

/// For how long what was seen is told again.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The circuits of every application, looked at once a second at most, and only when somebody asks.
pub struct CircuitWatch {
    budget: FlickrBudget,
    seen: Mutex<Sightings>,
}

impl CircuitWatch {
    /// A watch that has seen nothing yet.
    pub fn new(budget: FlickrBudget) -> Self {
        Self {
            budget,
            seen: Mutex::default(),
        }
    }

    /// The value of the header for a job that was accepted, if the circuit that it has to pass is open. Not to know is no failure.
    pub async fn header(&self, job: &Job) -> Option<String> {
        told(self.standing(&job.app).await?.circuit(Endpoint::of(job.queue)))
    }

    async fn standing(&self, app: &str) -> Option<Standing> {
        let (known, is_due) = self.seen().ask(app, Instant::now());
        if !is_due {
            return known;
        }
        match self.budget.look(app, None).await {
            Ok(standing) => {
                self.seen().note(app, standing);
                Some(standing)
            }
            Err(error) => {
                tracing::debug!(app, %error, "the circuit cannot be looked at");
                known
            }
        }
    }

    /// Each change is whole, so a panic elsewhere leaves nothing half done.
    fn seen(&self) -> MutexGuard<'_, Sightings> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the header says of a circuit; nothing unless it is open.
fn told(circuit: CircuitView) -> Option<String> {
    (circuit.state == CircuitState::Open).then(|| {
        let until = circuit
            .until
            .map(|until| format!("; until=\"{until}\""))
            .unwrap_or_default();
        format!("open{until}")
    })
}

/// What was seen last of each application.
#[derive(Default)]
struct Sightings(HashMap<String, Seen>);

#[derive(Clone, Copy)]
struct Seen {
    asked_at: Instant,
    standing: Option<Standing>,
}

impl Sightings {
    /// What was seen of an application, and whether who asks is to look again: one of all who ask, before the answer is
    /// there, so that the others tell meanwhile what was seen last.
    fn ask(&mut self, app: &str, now: Instant) -> (Option<Standing>, bool) {
        if let Some(seen) = self.0.get_mut(app) {
            let is_due = now.duration_since(seen.asked_at) >= FRESH_FOR;
            if is_due {
                seen.asked_at = now;
            }
            return (seen.standing, is_due);
        }
        let first = Seen {
            asked_at: now,
            standing: None,
        };
        self.0.insert(app.to_owned(), first);
        (None, true)
    }

    fn note(&mut self, app: &str, standing: Standing) {
        if let Some(seen) = self.0.get_mut(app) {
            seen.standing = Some(standing);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::fixtures::standing;

    fn circuit(state: CircuitState, until: Option<Timestamp>) -> CircuitView {
        CircuitView {
            endpoint: Endpoint::Rest,
            state,
            until,
        }
    }

    #[test]
    fn an_open_circuit_is_told_with_its_end_and_no_other() {
        let until = Some(Timestamp::constant(1_798_761_600, 0));
        let open = told(circuit(CircuitState::Open, until));
        assert_eq!(open.as_deref(), Some("open; until=\"2027-01-01T00:00:00Z\""));
        assert_eq!(told(circuit(CircuitState::Open, None)).as_deref(), Some("open"));
        assert_eq!(told(circuit(CircuitState::HalfOpen, until)), None);
        assert_eq!(told(circuit(CircuitState::Closed, None)), None);
    }

    #[test]
    fn of_many_who_ask_one_looks_and_again_after_a_second() {
        let (mut seen, start) = (Sightings::default(), Instant::now());
        assert_eq!(seen.ask("main", start), (None, true));
        assert_eq!(seen.ask("main", start), (None, false), "somebody looks already");
        let open = standing(CircuitState::Open);
        seen.note("main", open);
        let later = start + FRESH_FOR;
        assert_eq!(seen.ask("main", start + FRESH_FOR / 2), (Some(open), false));
        assert_eq!(seen.ask("main", later), (Some(open), true));
        assert_eq!(
            seen.ask("main", later),
            (Some(open), false),
            "the last sight is told meanwhile"
        );
        // Where the look failed, nothing is noted, and the next one is a second later.
        assert_eq!(seen.ask("main", later + FRESH_FOR), (Some(open), true));
        assert_eq!(
            seen.ask("other", later),
            (None, true),
            "each application is its own"
        );
    }
}
