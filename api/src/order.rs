//! What is to be done for whom: everything about a job that its client decides.

use std::collections::BTreeMap;

use flickrhub_job::limits::Limits;
use flickrhub_job::model::{Body, Callback, Idempotency, Job, NewJob, TraceContext};
use flickrhub_job::queue::Queue;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::validate::JobOptions;

/// What is to be done for whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// The Flickr user; authorised the client.
    pub user_id: String,
    /// The Flickr application that the user's token belongs to.
    pub app: String,
    /// The queue.
    pub queue: Queue,
    /// The Flickr method, `upload` or `replace`.
    pub method: String,
    /// Its arguments.
    pub params: BTreeMap<String, String>,
    /// The photo, stored already.
    pub body: Option<Body>,
    /// How it is to be run.
    pub options: JobOptions,
}

impl Order {
    /// Everything that the client asked for, in one form for all ways to write it: what makes a request the same as
    /// another. `photo`: the SHA-256 of the photo, where there is one.
    pub fn payload(&self, photo: Option<&str>) -> Value {
        json!({
            "method": self.method,
            "user_id": self.user_id,
            "params": self.params,
            "priority": self.options.priority,
            "callback_url": self.options.callback_url,
            "expires_in": self.options.expires_in.map(|time| time.as_secs()),
            "photo": photo,
            "file_name": self.body.as_ref().map(|body| &body.file_name),
        })
    }

    /// The job of this order, by the limits that hold now.
    pub fn into_job(
        self,
        caller: &Caller,
        trace: TraceContext,
        now: Timestamp,
        limits: &Limits,
        idempotency: Option<Idempotency>,
    ) -> Job {
        let lifetime = self
            .options
            .expires_in
            .unwrap_or_else(|| limits.default_lifetime());
        Job {
            weight: limits.weight_of(&self.user_id),
            body: self.body,
            priority: self.options.priority,
            callback: self.options.callback_url.map(Callback::waiting),
            idempotency,
            ..NewJob {
                client_id: caller.client_id.clone(),
                user_id: self.user_id,
                app: self.app,
                queue: self.queue,
                method: self.method,
                params: self.params,
                trace,
            }
            .accepted(now, now.checked_add(lifetime).unwrap_or(Timestamp::MAX))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flickrhub_job::model::{CallbackState, JobState, Priority};

    use super::*;

    fn order(expires_in: Option<Duration>) -> Order {
        Order {
            user_id: "12@N01".to_owned(),
            app: "main".to_owned(),
            queue: Queue::Rest,
            method: "flickr.test.login".to_owned(),
            params: BTreeMap::new(),
            body: None,
            options: JobOptions {
                priority: Priority::Low,
                callback_url: url::Url::parse("https://example.com/hook").ok(),
                expires_in,
            },
        }
    }

    fn job(expires_in: Option<Duration>) -> Job {
        let caller = Caller {
            client_id: "client".to_owned(),
            key_id: "k".to_owned(),
            scopes: Vec::new(),
        };
        let trace = TraceContext {
            trace_id: "t".to_owned(),
            traceparent: "p".to_owned(),
        };
        let limits = Limits {
            default_expires_in_seconds: 100,
            weights: BTreeMap::from([("12@N01".to_owned(), 7)]),
            ..Limits::default()
        };
        order(expires_in).into_job(&caller, trace, Timestamp::UNIX_EPOCH, &limits, None)
    }

    #[test]
    fn a_new_job_is_queued_for_its_client_and_has_never_run() {
        let job = job(None);
        assert_eq!(
            (job.state, job.attempt, job.client_id.as_str(), job.weight),
            (JobState::Queued, 0, "client", 7)
        );
        assert_eq!(
            job.callback.map(|callback| callback.state),
            Some(CallbackState::Waiting)
        );
        assert_eq!(
            (job.created_at, job.available_at),
            (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH)
        );
    }

    #[test]
    fn a_job_expires_when_its_client_says_or_else_by_default() {
        assert_eq!(job(None).expires_at.as_second(), 100);
        assert_eq!(job(Some(Duration::from_secs(5))).expires_at.as_second(), 5);
    }

    #[test]
    fn whatever_a_client_asks_for_is_part_of_the_payload() {
        let first = order(None).payload(None);
        let others = [
            order(Some(Duration::from_secs(5))).payload(None),
            order(None).payload(Some("abc")),
            Order {
                user_id: "13@N01".to_owned(),
                ..order(None)
            }
            .payload(None),
            Order {
                params: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
                ..order(None)
            }
            .payload(None),
            Order {
                options: JobOptions::default(),
                ..order(None)
            }
            .payload(None),
        ];
        for other in others {
            assert_ne!(other, first);
        }
        // The application is ours to choose.
        let order = Order {
            app: "second".to_owned(),
            ..order(None)
        };
        assert_eq!(order.payload(None), first);
    }
}
