//! Whether a user may, asked of the API server, as the extension servers of Kubernetes do. Answers hold for some seconds, so
//! that an autoscaler that asks four times a minute costs the API server little.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::front_proxy::User;
use super::request::Asked;
use super::{GROUP, VERSION};
use crate::autoscaling::BACKLOG_METRIC;

/// For how long an answer holds.
const KEPT: Duration = Duration::from_secs(10);
/// Answers that are remembered; then all are forgotten.
const MAX_REMEMBERED: usize = 1_000;
/// The group that may do everything, which the API server itself asks nobody about.
const MASTERS: &str = "system:masters";

/// What a user wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish<'a> {
    /// Something that everybody may.
    Anything,
    /// To read an address that is no resource.
    Path(&'static str),
    /// To read the metric in a namespace.
    Metric(&'a str),
}

impl<'a> Wish<'a> {
    fn of(asked: &'a Asked) -> Self {
        match asked {
            Asked::Health => Self::Anything,
            Asked::Discovery => Self::Path("/apis/external.metrics.k8s.io/v1beta1"),
            Asked::Backlog { namespace, .. } => Self::Metric(namespace),
        }
    }
}

/// Asks the API server; remembers the answers for a while.
pub struct Access {
    client: Client,
    answers: Mutex<HashMap<(User, String), (Instant, bool)>>,
}

impl Access {
    /// Asks by `client`.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            answers: Mutex::default(),
        }
    }

    /// Whether a user may ask this.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn allows(&self, user: &User, asked: &Asked) -> Result<bool, kube::Error> {
        let wish = Wish::of(asked);
        if wish == Wish::Anything || user.groups.iter().any(|group| group == MASTERS) {
            return Ok(true);
        }
        let key = (user.clone(), format!("{wish:?}"));
        if let Some(answer) = self.remembered(&key) {
            return Ok(answer);
        }
        let review = SubjectAccessReview {
            spec: review(user, wish),
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answered = reviews.create(&PostParams::default(), &review).await?;
        let allowed = answered.status.is_some_and(|status| status.allowed);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MAX_REMEMBERED {
            answers.clear();
        }
        answers.insert(key, (Instant::now(), allowed));
        Ok(allowed)
    }

    fn remembered(&self, key: &(User, String)) -> Option<bool> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = answers.get(key)?;
        (at.elapsed() < KEPT).then_some(*answer)
    }
}

fn review(user: &User, wish: Wish<'_>) -> SubjectAccessReviewSpec {
    let (resource, path) = match wish {
        Wish::Metric(namespace) => (
            Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                version: Some(VERSION.to_owned()),
                resource: Some(BACKLOG_METRIC.to_owned()),
                namespace: Some(namespace.to_owned()),
                // What Kubernetes takes a request without a name for.
                verb: Some("list".to_owned()),
                ..ResourceAttributes::default()
            }),
            None,
        ),
        Wish::Path(path) => (
            None,
            Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some("get".to_owned()),
            }),
        ),
        Wish::Anything => (None, None),
    };
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: user.uid.clone(),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()),
        resource_attributes: resource,
        non_resource_attributes: path,
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Selector;
    use super::*;

    #[test]
    fn the_right_to_the_metric_is_asked_for_the_namespace_of_the_hub() {
        let asked = Asked::Backlog {
            namespace: "photos".to_owned(),
            selector: Selector {
                hub: "gallery".to_owned(),
                queue: None,
            },
        };
        let user = User {
            name: "hpa".to_owned(),
            groups: vec!["g".to_owned()],
            ..User::default()
        };
        let spec = review(&user, Wish::of(&asked));
        let resource = spec.resource_attributes.unwrap_or_default();
        assert_eq!(resource.namespace.as_deref(), Some("photos"));
        assert_eq!(resource.resource.as_deref(), Some("flickrhub_queue_backlog"));
        assert_eq!(resource.verb.as_deref(), Some("list"));
        assert_eq!(
            (spec.user.as_deref(), spec.groups),
            (Some("hpa"), Some(vec!["g".to_owned()]))
        );
    }

    #[test]
    fn discovery_is_asked_for_as_an_address() {
        let spec = review(&User::default(), Wish::of(&Asked::Discovery));
        assert!(spec.resource_attributes.is_none());
        let path = spec.non_resource_attributes.unwrap_or_default();
        assert_eq!(
            path.path.as_deref(),
            Some("/apis/external.metrics.k8s.io/v1beta1")
        );
    }
}
