//! Whether Flickr is left alone at the moment, as an accepted job's answer tells it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderName;
use flickrhub_job::budget::{CircuitState, Endpoint, FlickrBudget, Standing};
use flickrhub_job::model::Job;

/// The header: present only while the circuit of the job's application is open.
pub const CIRCUIT: HeaderName = HeaderName::from_static("flickrhub-circuit");

/// For how long what was seen is told again.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// The circuits of every application, looked at once a second at most, and only when somebody asks.
pub struct CircuitWatch {
    budget: FlickrBudget,
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    asked_at: Instant,
    standing: Option<Standing>,
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
        let circuit = self.standing(&job.app).await?.circuit(Endpoint::of(job.queue));
        (circuit.state == CircuitState::Open).then(|| {
            let until = circuit
                .until
                .map(|until| format!("; until=\"{until}\""))
                .unwrap_or_default();
            format!("open{until}")
        })
    }

    async fn standing(&self, app: &str) -> Option<Standing> {
        let known = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let known = seen.get(app).copied();
            if let Some(known) = known
                && known.asked_at.elapsed() < FRESH_FOR
            {
                return known.standing;
            }
            // Before the answer is there, so that of many requests one asks; the others tell what was seen last.
            let standing = known.and_then(|known| known.standing);
            seen.insert(
                app.to_owned(),
                Seen {
                    asked_at: Instant::now(),
                    standing,
                },
            );
            standing
        };
        let standing = match self.budget.look(app, None).await {
            Ok(standing) => Some(standing),
            Err(error) => {
                tracing::debug!(app, %error, "the circuit cannot be looked at");
                known
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_app) = seen.get_mut(app) {
            of_app.standing = standing;
        }
        standing
    }
}
