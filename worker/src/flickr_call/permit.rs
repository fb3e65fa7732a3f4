//! Permits: asked for before each request, and answered for after it.

use std::time::{Duration, Instant};

use flickrhub_flickr::{FlickrError, Sign};
use flickrhub_job::budget::{Endpoint, Permit, PermitError, Reason, Refused};
use flickrhub_job::model::JobError;
use tokio::time::sleep;

use super::Call;
use crate::decision::{Failure, FailureKind};

/// A refusal that ends within this time is waited for here: putting the job back would take longer, and cost more.
const WORTH_WAITING: Duration = Duration::from_secs(1);

/// How long one attempt waits for its first permit in all.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

impl Call<'_> {
    /// A permit for the next request; none is needed where no budgets are kept.
    ///
    /// # Errors
    /// What becomes of the attempt when there is none soon.
    pub(super) async fn permit(&self, endpoint: Endpoint) -> Result<Option<Permit>, Failure> {
        let waits_until = Instant::now() + LONGEST_WAIT;
        loop {
            match self.ask(endpoint).await {
                Ok(permit) => return Ok(permit),
                Err(PermitError::Refused(refused))
                    if refused.wait <= WORTH_WAITING && Instant::now() + refused.wait < waits_until =>
                {
                    sleep(refused.wait).await;
                }
                Err(error) => {
                    tracing::info!(%error, app = self.signers.app_name, "Flickr is not called now");
                    return Err(not_now(&error));
                }
            }
        }
    }

    /// A permit for a request that the attempt makes on its way; `None` when there is none before the attempt's end.
    pub(super) async fn permit_in_time(&self, endpoint: Endpoint) -> Option<Option<Permit>> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.ask(endpoint).await {
                Ok(permit) => return Some(permit),
                Err(PermitError::Refused(refused)) if refused.wait < left => sleep(refused.wait).await,
                Err(PermitError::Refused(_)) => {
                    sleep(left).await;
                    return None;
                }
                Err(PermitError::Redis(error)) => {
                    tracing::warn!(%error, "the ticket is not asked about this time");
                    return None;
                }
            }
        }
    }

    async fn ask(&self, endpoint: Endpoint) -> Result<Option<Permit>, PermitError> {
        let Some(budget) = &self.caller.budget else {
            return Ok(None);
        };
        let user = Some(self.job.user_id.as_str());
        budget
            .permit(&self.signers.app_name, user, endpoint)
            .await
            .map(Some)
    }

    /// Tells the circuit breaker how a request ended.
    pub(super) fn report(&self, permit: Option<Permit>, error: Option<&FlickrError>) {
        let (Some(budget), Some(permit)) = (&self.caller.budget, permit) else {
            return;
        };
        match error.map_or(Sign::There, FlickrError::sign) {
            Sign::There => budget.succeeded(permit),
            Sign::Away => budget.failed(permit),
            Sign::Limited(retry_after) => budget.limited(permit, retry_after),
            Sign::Nothing => {}
        }
    }
}

/// What the lack of a permit means for the attempt.
fn not_now(error: &PermitError) -> Failure {
    let (kind, code, message, retry_after) = match error {
        PermitError::Refused(Refused { reason, wait }) => {
            let (code, message) = match reason {
                Reason::AppBudget | Reason::UserBudget => (
                    "flickr_budget_spent",
                    "The hour's requests to Flickr are used up; the job goes on as soon as there are some again.",
                ),
                Reason::CircuitOpen | Reason::ProbeOut => (
                    "flickr_circuit_open",
                    "Flickr does not answer at the moment; the job goes on as soon as it does again.",
                ),
                Reason::Rebuilding => (
                    "temporarily_unavailable",
                    "FlickrHub could not make the call yet and tries again by itself.",
                ),
            };
            (FailureKind::NotYet, code, message, Some(*wait))
        }
        PermitError::Redis(_) => (
            FailureKind::NotMade,
            "temporarily_unavailable",
            "FlickrHub could not make the call yet and tries again by itself.",
            None,
        ),
    };
    Failure {
        kind,
        error: JobError {
            code: code.to_owned(),
            message: message.to_owned(),
            flickr_code: None,
        },
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_is_no_try_and_its_wait_is_kept() {
        let wait = Duration::from_secs(7);
        let reason = Reason::AppBudget;
        let failure = not_now(&Refused { reason, wait }.into());
        assert_eq!(
            (failure.kind, failure.retry_after),
            (FailureKind::NotYet, Some(wait))
        );
        assert_eq!(failure.error.code, "flickr_budget_spent");
    }
}
