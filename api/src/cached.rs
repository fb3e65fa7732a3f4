//! Jobs that are over when they are accepted, because their answer is cached.
//!
//! Such a job is stored like any other, in its final state: it can be looked at, is in the lists, and its callback is
//! delivered. It is admitted like any other, and never in a lane. If the process dies before it is stored, nothing was
//! promised.

use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use flickrhub_flickr::Method;
use flickrhub_job::cache::{CacheKey, Cached, Lookup};
use flickrhub_job::model::{CallbackState, Job, JobState};
use flickrhub_job::telemetry::Metrics;

use crate::data_tier::DataTier;

/// The job, ended with a cached answer, if there is one that is fresh and its client wants none of Flickr's own.
pub async fn finished(data: &DataTier, metrics: &Metrics, job: &Job) -> Option<Job> {
    Some(ended(job, fresh_answer(data, metrics, job).await?))
}

/// Only a hit is counted here: what is not answered here is looked for once more, and counted, by its worker.
async fn fresh_answer(data: &DataTier, metrics: &Metrics, job: &Job) -> Option<Cached> {
    if !Method::reads(&job.method) || job.no_cache || !data.cache.keeps(&job.method) {
        return None;
    }
    match data.cache.look(&CacheKey::from(job)).await {
        Ok(Lookup::Fresh(cached)) => {
            metrics.record_cache_lookup("hit");
            Some(cached)
        }
        Ok(Lookup::Stale(..) | Lookup::Missing(_) | Lookup::Fetching) => None,
        Err(error) => {
            tracing::warn!(%error, "the cache cannot be asked; the job is queued");
            None
        }
    }
}

/// Whether the client wants an answer of Flickr's own: `Cache-Control: no-cache` or `no-store` (RFC 9111 section 5.2.1).
pub fn wants_no_cache(headers: &HeaderMap) -> bool {
    let directives = headers.get_all(CACHE_CONTROL).into_iter();
    directives
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|directive| {
            let directive = directive.trim();
            directive.eq_ignore_ascii_case("no-cache") || directive.eq_ignore_ascii_case("no-store")
        })
}

fn ended(job: &Job, cached: Cached) -> Job {
    let mut job = job.clone();
    job.state = JobState::Succeeded;
    job.result = Some(cached.result);
    job.finished_at = Some(job.created_at);
    if let Some(callback) = &mut job.callback {
        callback.state = CallbackState::Pending;
        callback.next_at = Some(job.created_at);
    }
    job
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_can_ask_for_an_answer_of_flickrs_own() {
        let asks = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
            }
            wants_no_cache(&headers)
        };
        assert!(!asks(&[]));
        assert!(!asks(&["max-age=0"]));
        assert!(asks(&["no-cache"]));
        assert!(asks(&["max-age=0, No-Cache"]));
        assert!(asks(&["max-age=0", "no-store"]));
    }
}
