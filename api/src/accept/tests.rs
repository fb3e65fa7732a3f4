//! What jobs are limited as, and what a refusal tells.

use std::time::Duration;

use super::*;
use crate::fixtures::full_windows;

#[test]
fn methods_are_limited_by_what_they_do() {
    for (queue, method, class) in [
        (Queue::Rest, "flickr.photos.search", RequestClass::Read),
        (Queue::Rest, "flickr.photos.getInfo", RequestClass::Read),
        (Queue::Rest, "flickr.photos.setTags", RequestClass::Write),
        (Queue::Rest, "flickr.photos.delete", RequestClass::Write),
        (Queue::Rest, "flickr.from.the.future", RequestClass::Write),
        (Queue::Upload, "upload", RequestClass::Upload),
        (Queue::Replace, "replace", RequestClass::Upload),
    ] {
        assert_eq!(class_of(queue, method), class, "{method}");
    }
}

#[test]
fn every_refusal_says_when_to_come_back() {
    let retry_after = Duration::from_secs(7);
    let quotas = full_windows();
    let full = |policy| Admission::WindowFull { policy, retry_after };
    for (admission, status, code) in [
        (
            Admission::UserBusy {
                pending: 1000,
                retry_after,
            },
            429,
            "too_many_pending",
        ),
        (Admission::QueueFull { retry_after }, 503, "queue_full"),
        (full(Policy::Client), 429, "client_rate_exceeded"),
        (full(Policy::User), 429, "user_rate_exceeded"),
        (
            full(Policy::Class(RequestClass::Read)),
            429,
            "class_rate_exceeded",
        ),
    ] {
        let problem = refusal(&admission, quotas);
        let facts = problem.as_ref().map(|problem| {
            (
                problem.status().as_u16(),
                problem.code(),
                problem.retry_after(),
                problem.quotas().is_some(),
            )
        });
        assert_eq!(facts, Some((status, code, Some(retry_after), status == 429)));
    }
    let in_flight = refusal(&Admission::InFlight, quotas);
    assert!(in_flight.is_some_and(|problem| problem.retry_after().is_some()));
}
