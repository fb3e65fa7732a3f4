//! The budgets of Flickr requests: their settings, their metrics, and their rebuilding after Redis lost some of them, as
//! [`flickrhub_job::budget`] explains it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flickrhub_job::budget::{BudgetSettings, CUT_OFF, Lost, Whose};
use flickrhub_job::model::JobState;
use flickrhub_job::queue::Queue;
use flickrhub_job::store::ClaimsOfJob;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{Dispatcher, RecoveryError};
use crate::flickr_call::most_questions;
use crate::shutdown::pause;

/// How often the settings are written, by any one of the dispatchers.
const SETTINGS_PERIOD: Duration = Duration::from_mins(1);

/// By how much the clocks of two processes may differ.
const CLOCKS: SignedDuration = SignedDuration::from_secs(2);

/// The latest times at which the attempts of a job can have called Flickr, ascending: nobody knows when they did.
///
/// An attempt is over when the next one begins, or when the job left its state; one that runs may call now.
fn latest_requests(job: &ClaimsOfJob, now: Timestamp) -> Vec<Timestamp> {
    let last = match job.state {
        JobState::Running => now,
        _ => job.updated_at,
    };
    let ends = job.times().skip(1).chain([last]);
    job.times()
        .zip(ends)
        .flat_map(|(claimed, ended)| {
            let ended = ended.max(claimed);
            let questions = match job.queue {
                Queue::Rest => 0,
                Queue::Upload | Queue::Replace => {
                    most_questions(ended.duration_since(claimed).unsigned_abs())
                }
            };
            let latest = ended.saturating_add(CLOCKS).unwrap_or(Timestamp::MAX).min(now);
            std::iter::repeat_n(latest, 1 + questions)
        })
        .collect()
}

/// The latest requests of each log, ascending.
fn by_log(jobs: &[ClaimsOfJob], now: Timestamp) -> BTreeMap<Whose, Vec<Timestamp>> {
    let mut logs: BTreeMap<Whose, Vec<Timestamp>> = BTreeMap::new();
    for job in jobs {
        let requests = latest_requests(job, now);
        for whose in [Whose::App(job.app.clone()), Whose::User(job.user_id.clone())] {
            logs.entry(whose).or_default().extend(&requests);
        }
    }
    for requests in logs.values_mut() {
        requests.sort_unstable();
    }
    logs
}

/// What was written last.
fn settled(settings: &Mutex<Option<BudgetSettings>>) -> MutexGuard<'_, Option<BudgetSettings>> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dispatcher {
    /// Writes the settings when this process starts, when they change and once a minute, and rebuilds what Redis has lost.
    pub(super) async fn keep_budgets(
        &self,
        configured: &Mutex<Option<BudgetSettings>>,
        stop: &CancellationToken,
    ) -> Result<(), RecoveryError> {
        // Now and then again: while dispatchers of two configurations run, either may have written last.
        let limits = self.limits.get();
        let settings = BudgetSettings {
            per_user: limits.per_user_per_hour,
            breaker: limits.breaker.clone(),
            ..self.budget_settings.clone()
        };
        let is_new = settled(configured).as_ref() != Some(&settings);
        if is_new || self.has_turn("budget-settings", SETTINGS_PERIOD).await? {
            self.budget.configure(&settings).await?;
            *settled(configured) = Some(settings.clone());
        }
        let (lost, rebuild) = self.budget.begin_rebuild().await?;
        if lost == Lost::Nothing {
            return Ok(());
        }
        tracing::warn!(
            ?lost,
            "the budgets of Flickr requests are rebuilt; until then Flickr is not called"
        );
        self.budget.configure(&settings).await?;
        if lost == Lost::Last && !pause(CUT_OFF, stop).await {
            return Ok(());
        }
        let span = SignedDuration::try_from(self.budget_settings.span).unwrap_or(SignedDuration::MAX);
        let jobs = self.store.claims(span.saturating_add(CLOCKS)).await?;
        let mut added = 0;
        for (whose, requests) in by_log(&jobs, Timestamp::now()) {
            added += self.budget.restore(&whose, &requests).await?;
        }
        if self.budget.end_rebuild(&rebuild).await? {
            tracing::info!(jobs = jobs.len(), added, "the budgets are rebuilt");
        }
        Ok(())
    }

    /// Sets the gauges of every application. Each dispatcher shows the same numbers: they are Redis's.
    pub(super) async fn record_budgets(&self) -> Result<(), RecoveryError> {
        for app in self.budget_settings.apps.keys() {
            let standing = self.budget.look(app, None).await?;
            self.metrics.record_budget(app, &standing);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn job(queue: Queue, state: JobState, updated_at: Timestamp) -> ClaimsOfJob {
        ClaimsOfJob::new("main", "12345678@N00", queue, state, updated_at)
    }

    #[test]
    fn a_finished_attempt_called_before_its_end_and_a_running_one_may_call_now() {
        let ended = NOW - 10.minutes();
        let finished = job(Queue::Rest, JobState::Succeeded, ended).claimed_at(ended - 1.second());
        assert_eq!(latest_requests(&finished, NOW), [ended + CLOCKS]);
        let running = job(Queue::Rest, JobState::Running, ended).claimed_at(ended);
        assert_eq!(latest_requests(&running, NOW), [NOW]);
    }

    #[test]
    fn each_attempt_counts_and_ends_before_the_next_one() {
        let second = NOW - 5.minutes();
        let retried = job(Queue::Rest, JobState::Queued, NOW - 1.minute())
            .claimed_at(NOW - 30.minutes())
            .claimed_at(second);
        assert_eq!(
            latest_requests(&retried, NOW),
            [second + CLOCKS, NOW - 1.minute() + CLOCKS]
        );
    }

    #[test]
    fn a_photo_counts_with_the_questions_that_it_had_time_for() {
        let ended = NOW - 10.minutes();
        let upload = job(Queue::Upload, JobState::Succeeded, ended).claimed_at(ended - 3.seconds());
        assert_eq!(latest_requests(&upload, NOW).len(), 1 + 3);
    }

    #[test]
    fn requests_are_counted_for_the_application_and_for_the_user() {
        let jobs = [2, 1].map(|minutes: i64| {
            let ended = NOW - minutes.minutes();
            job(Queue::Rest, JobState::Succeeded, ended).claimed_at(ended)
        });
        let logs = by_log(&jobs, NOW);
        let expected = [NOW - 2.minutes() + CLOCKS, NOW - 1.minute() + CLOCKS];
        assert_eq!(logs[&Whose::App("main".to_owned())], expected);
        assert_eq!(logs[&Whose::User("12345678@N00".to_owned())], expected);
    }
}
