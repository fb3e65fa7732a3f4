//! One job of many, apart from the others.

use std::future::Future;

use flickrhub_job::model::Job;
use tracing::Instrument;

use super::RecoveryError;
use crate::panics::caught;

/// Does `work` for `job`. What is wrong with this job alone is logged and gives `None`: it must not keep the others
/// waiting.
///
/// # Errors
/// When a server is away, which concerns every job.
pub(super) async fn apart<T>(
    job: &Job,
    work: impl Future<Output = Result<T, RecoveryError>>,
) -> Result<Option<T>, RecoveryError> {
    let span = tracing::info_span!(
        "recovery",
        job_id = %job.id, user_id = job.user_id, trace_id = job.trace.trace_id, attempt = job.attempt,
    );
    let work = async {
        match caught(work).await {
            Ok(Ok(done)) => return Ok(Some(done)),
            Ok(Err(error)) if error.is_transient() => return Err(error),
            Ok(Err(error)) => tracing::error!(%error, "the job cannot be recovered"),
            Err(panicked) => tracing::error!(%panicked, "the job cannot be recovered"),
        }
        Ok(None)
    };
    work.instrument(span).await
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use flickrhub_job::store::StoreError;

    use super::*;
    use crate::fixtures::job;

    #[tokio::test]
    async fn only_a_server_that_is_away_concerns_the_other_jobs() {
        let job = job().build();
        assert!(matches!(apart(&job, ready(Ok(1))).await, Ok(Some(1))));
        let broken = StoreError::Unreadable("state".to_owned());
        let broken = apart(&job, ready(Err::<(), _>(broken.into()))).await;
        assert!(matches!(broken, Ok(None)), "{broken:?}");
        let panicked = apart(&job, async { panic!("a bug") }).await;
        assert!(matches!(panicked, Ok(None::<()>)), "{panicked:?}");
        let away = apart(&job, ready(Err::<(), _>(StoreError::Timeout.into()))).await;
        assert!(
            matches!(away, Err(RecoveryError::Store(StoreError::Timeout))),
            "{away:?}"
        );
    }
}
