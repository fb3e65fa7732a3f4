//! The documents that the external metrics API answers. Pure.

use flickrhub_job::queue::Queue;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::request::Selector;
use super::{GROUP, VERSION};
use crate::autoscaling::{BACKLOG_METRIC, HUB_LABEL, QUEUE_LABEL};
use crate::backlogs::HubBacklog;

/// The resources of the group.
pub fn discovery() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [{
            "name": BACKLOG_METRIC,
            "singularName": "",
            "namespaced": true,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }],
    })
}

/// The backlogs that a selector asks for, as they were at `now`.
pub fn values(backlog: &HubBacklog, selector: &Selector, now: Timestamp) -> Value {
    let is_asked = |queue: Queue| selector.queue.as_deref().is_none_or(|name| name == queue.name());
    let items = backlog
        .jobs()
        .filter(|(queue, _)| is_asked(*queue))
        .map(|(queue, jobs)| {
            json!({
                "metricName": BACKLOG_METRIC,
                "metricLabels": {HUB_LABEL: selector.hub, QUEUE_LABEL: queue.name()},
                "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "value": jobs.to_string(),
            })
        });
    json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": {},
        "items": items.collect::<Vec<_>>(),
    })
}

/// A refusal as Kubernetes words it.
pub fn failure(code: StatusCode, message: &str) -> Value {
    let reason = match code {
        StatusCode::BAD_REQUEST => "BadRequest",
        StatusCode::UNAUTHORIZED => "Unauthorized",
        StatusCode::FORBIDDEN => "Forbidden",
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowed",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlogs;

    #[test]
    fn the_value_of_each_queue_that_is_asked_for_comes_with_its_labels() {
        let backlog = backlogs::fixture(&[(Queue::Rest, 7), (Queue::Upload, 1200)]);
        let mut selector = Selector {
            hub: "gallery".to_owned(),
            queue: Some("flickr_upload".to_owned()),
        };
        let now = Timestamp::constant(1_800_000_000, 5);
        let list = values(&backlog, &selector, now);
        let expected = json!([{
            "metricName": "flickrhub_queue_backlog",
            "metricLabels": {"hub": "gallery", "queue": "flickr_upload"},
            "timestamp": "2027-01-15T08:00:00Z",
            "value": "1200",
        }]);
        assert_eq!(list["items"], expected);
        selector.queue = None;
        assert_eq!(
            values(&backlog, &selector, now)["items"].as_array().map(Vec::len),
            Some(2)
        );
    }

    #[test]
    fn a_refusal_is_a_status() {
        let status = failure(StatusCode::FORBIDDEN, "no");
        assert_eq!(
            (&status["reason"], &status["code"]),
            (&json!("Forbidden"), &json!(403))
        );
    }
}
