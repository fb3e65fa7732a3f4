//! The indexes. Creating one that exists with the same definition does nothing, so every process creates them all, but for
//! those of the audit log ([`super::AuditIndexes`]).

use std::time::Duration;

use bson::{DateTime, Document, doc};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

use crate::audit::AuditEvent;
use crate::model::CallbackState;

/// How long an OAuth request waits for the user, who has to log in at Flickr meanwhile.
pub(super) const OAUTH_REQUEST_LIFETIME: Duration = Duration::from_hours(1);

/// The index that lets only one job have an idempotency key.
const IDEMPOTENCY: &str = "idempotency";

/// The indexes of `jobs`. Most are partial: they hold only the jobs that are still in motion, which are few.
pub(super) fn jobs() -> Vec<IndexModel> {
    vec![
        // For lists. Neither queue nor client of a job ever changes, so no transition pays for it.
        named(
            "client_queue_newest",
            doc! { "client_id": 1, "queue": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        // Which method it calls does not change either, and says which queue it is in.
        named(
            "client_method_newest",
            doc! { "client_id": 1, "method": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        named(
            "user_newest",
            doc! { "user_id": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        // The rare ends, which are looked for among many successes.
        partial(
            "ended_otherwise_newest",
            doc! { "client_id": 1, "state": 1, "_id": -1 },
            doc! { "state": { "$in": ["failed", "dead", "expired", "cancelled"] } },
        ),
        partial(
            "unfinished_oldest",
            doc! { "state": 1, "_id": 1 },
            doc! { "finished_at": null },
        ),
        partial(
            "leases",
            doc! { "lease_until": 1 },
            doc! { "lease_until": { "$gt": DateTime::from_millis(0) } },
        ),
        partial(
            "callbacks_due",
            doc! { "callback.next_at": 1 },
            doc! { "callback.state": CallbackState::Pending.name() },
        ),
        partial(
            "bodies",
            doc! { "body.file_id": 1 },
            doc! { "body.file_id": { "$exists": true } },
        ),
        named(
            IDEMPOTENCY,
            doc! { "idempotency.key": 1 },
            IndexOptions::builder()
                .unique(true)
                .partial_filter_expression(doc! { "idempotency.key": { "$exists": true } })
                .build(),
        ),
        expiring("purge", "purge_at", Duration::ZERO),
    ]
}

/// The indexes of `users`.
pub(super) fn users() -> Vec<IndexModel> {
    vec![named(
        "grants",
        doc! { "grants.client_id": 1, "_id": 1 },
        IndexOptions::default(),
    )]
}

/// The indexes of `clients`: the id of a key belongs to one client.
pub(super) fn clients() -> Vec<IndexModel> {
    let options = IndexOptions::builder()
        .unique(true)
        .partial_filter_expression(doc! { "keys.id": { "$exists": true } })
        .build();
    vec![named("key_id", doc! { "keys.id": 1 }, options)]
}

/// The indexes of `oauth_requests`.
pub(super) fn oauth_requests() -> Vec<IndexModel> {
    vec![expiring("purge", "created_at", OAUTH_REQUEST_LIFETIME)]
}

/// The indexes of `callback_endpoints`.
pub(super) fn callback_endpoints() -> Vec<IndexModel> {
    vec![
        named(
            "client",
            doc! { "client_id": 1, "_id": 1 },
            IndexOptions::default(),
        ),
        expiring("purge", "disabled_until", Duration::ZERO),
    ]
}

/// The indexes of `callback_deliveries`.
pub(super) fn callback_deliveries() -> Vec<IndexModel> {
    vec![
        named(
            "client_newest",
            doc! { "client_id": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        named(
            "client_outcome_newest",
            doc! { "client_id": 1, "outcome": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        named(
            "job_newest",
            doc! { "job_id": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        expiring("purge", "purge_at", Duration::ZERO),
    ]
}

/// The indexes of `audit`, whose entries are kept for `retention`.
pub(super) fn audit(retention: Duration) -> Vec<IndexModel> {
    let remarkable: Vec<_> = AuditEvent::ALL
        .iter()
        .filter(|event| **event != AuditEvent::ApiCall)
        .map(|event| event.name())
        .collect();
    vec![
        named(
            "chain",
            doc! { "chain": 1, "seq": 1 },
            IndexOptions::builder().unique(true).build(),
        ),
        named(
            "client_newest",
            doc! { "client_id": 1, "_id": -1 },
            IndexOptions::default(),
        ),
        // Nearly every entry is a plain request: a search for those needs no index, and their writes do not pay for it.
        partial(
            "event_newest",
            doc! { "event": 1, "_id": -1 },
            doc! { "event": { "$in": remarkable } },
        ),
        expiring("purge", "at", retention),
    ]
}

fn named(name: &str, keys: Document, mut options: IndexOptions) -> IndexModel {
    options.name = Some(name.to_owned());
    IndexModel::builder().keys(keys).options(options).build()
}

fn partial(name: &str, keys: Document, filter: Document) -> IndexModel {
    named(
        name,
        keys,
        IndexOptions::builder().partial_filter_expression(filter).build(),
    )
}

/// MongoDB deletes a document this long after the date in its field, at the earliest; it looks once a minute.
fn expiring(name: &str, field: &str, after: Duration) -> IndexModel {
    named(
        name,
        doc! { field: 1 },
        IndexOptions::builder().expire_after(after).build(),
    )
}
