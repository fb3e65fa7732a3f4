//! Lists agree with single reads, callbacks with the jobs, nobody sees another's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Index, Promise, Violation, violation};
use crate::history::{Delivery, History, is_final};

pub(super) fn check(history: &History, index: &Index<'_>, violations: &mut Vec<Violation>) {
    list(history, violations);
    callbacks(history, index, violations);
    for job_id in &history.leaked {
        violations.push(violation(Promise::Private, job_id, "another client could see it"));
    }
}

fn list(history: &History, violations: &mut Vec<Violation>) {
    let mut broken =
        |job_id: &str, evidence: String| violations.push(violation(Promise::ListAgrees, job_id, evidence));
    let mut listed = BTreeSet::new();
    for job in &history.listed {
        if !listed.insert(job.id.as_str()) {
            broken(&job.id, "it is listed twice".to_owned());
        }
        if let Some(read) = history.later.get(&job.id).filter(|read| *read != job) {
            broken(
                &job.id,
                format!("the list says {job:?}, the single read {read:?}"),
            );
        }
    }
    for job_id in history.later.keys() {
        if !listed.contains(job_id.as_str()) {
            broken(job_id, "it is not in the list of its user's jobs".to_owned());
        }
    }
}

fn callbacks(history: &History, index: &Index<'_>, violations: &mut Vec<Violation>) {
    let mut of_job: BTreeMap<&str, Vec<&Delivery>> = BTreeMap::new();
    for delivery in &history.deliveries {
        of_job.entry(&delivery.job_id).or_default().push(delivery);
    }
    let mut broken = |job_id: &str, evidence: String| {
        violations.push(violation(Promise::CallbackTrue, job_id, evidence));
    };
    for (job_id, job) in &index.jobs {
        let received = of_job.remove(*job_id).unwrap_or_default();
        let asked = index
            .operation_of(job)
            .is_some_and(|operation| operation.callback);
        if !asked && !received.is_empty() {
            broken(job_id, "nobody asked for its callback".to_owned());
        }
        for delivery in &received {
            if delivery.webhook_id != *job_id {
                broken(
                    job_id,
                    format!("its callback has the identity {}", delivery.webhook_id),
                );
            }
            if delivery.state != job.state || !is_final(&delivery.state) {
                broken(
                    job_id,
                    format!("its callback says {}, the API {}", delivery.state, job.state),
                );
            }
        }
        let taken = received
            .iter()
            .any(|delivery| (200..300).contains(&delivery.status));
        if job.callback.as_deref() == Some("delivered") && !taken {
            broken(
                job_id,
                "its callback counts as delivered and nobody received it".to_owned(),
            );
        }
        let waits = matches!(job.callback.as_deref(), Some("waiting" | "pending"));
        if is_final(&job.state) && waits {
            broken(job_id, "its callback is not delivered".to_owned());
        }
    }
    for job_id in of_job.into_keys() {
        broken(job_id, "a callback of a job that nobody knows".to_owned());
    }
}
