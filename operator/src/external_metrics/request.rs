//! What is asked of the external metrics API. Pure.

use http::Method;

use super::{GROUP, VERSION};
use crate::autoscaling::{BACKLOG_METRIC, HUB_LABEL, QUEUE_LABEL};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Whether the process lives.
    Health,
    /// Which resources the group has.
    Discovery,
    /// The backlog of queues.
    Backlog {
        /// The namespace of the hub.
        namespace: String,
        /// Which hub and which queues.
        selector: Selector,
    },
}

/// Which hub and which queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The name of the hub.
    pub hub: String,
    /// The name of the queue, such as `flickr_rest`; every queue if `None`.
    pub queue: Option<String>,
}

/// Why a question is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misunderstood {
    /// There is nothing at the address.
    #[error("the server could not find the requested resource")]
    NotFound,
    /// Metrics are only read.
    #[error("metrics can only be read")]
    Method,
    /// The labels do not select one hub.
    #[error(
        "the labels must select one hub, as in {HUB_LABEL}=gallery,{QUEUE_LABEL}=flickr_rest: {0:?} is not understood"
    )]
    Selector(String),
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// When there is no such question.
    pub fn read(method: &Method, path: &str, query: Option<&str>) -> Result<Self, Misunderstood> {
        if method != Method::GET {
            return Err(Misunderstood::Method);
        }
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        match words.as_slice() {
            ["healthz" | "readyz" | "livez"] => Ok(Self::Health),
            ["apis", group, version] if *group == GROUP && *version == VERSION => Ok(Self::Discovery),
            ["apis", group, version, "namespaces", namespace, metric]
                if *group == GROUP && *version == VERSION && *metric == BACKLOG_METRIC =>
            {
                Ok(Self::Backlog {
                    namespace: (*namespace).to_owned(),
                    selector: Selector::read(query.unwrap_or_default())?,
                })
            }
            _ => Err(Misunderstood::NotFound),
        }
    }
}

impl Selector {
    /// Reads the parameter `labelSelector` of a query: equality alone, which is what autoscalers send.
    fn read(query: &str) -> Result<Self, Misunderstood> {
        let parameters = url::form_urlencoded::parse(query.as_bytes());
        let text = parameters
            .into_iter()
            .find(|(name, _)| name == "labelSelector")
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default();
        let not_understood = || Misunderstood::Selector(text.clone());
        let (mut hub, mut queue) = (None, None);
        for term in text.split(',') {
            let (key, value) = term.split_once('=').ok_or_else(not_understood)?;
            let value = value.trim_start_matches('=').trim().to_owned();
            let place = match key.trim() {
                HUB_LABEL => &mut hub,
                QUEUE_LABEL => &mut queue,
                _ => return Err(not_understood()),
            };
            if value.is_empty() || place.replace(value).is_some() {
                return Err(not_understood());
            }
        }
        Ok(Self {
            hub: hub.ok_or_else(not_understood)?,
            queue,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(path: &str, query: &str) -> Result<Asked, Misunderstood> {
        Asked::read(&Method::GET, path, Some(query))
    }

    const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/photos/flickrhub_queue_backlog";

    #[test]
    fn the_backlog_of_one_queue_is_asked_as_autoscalers_ask() {
        let asked = get(METRIC, "labelSelector=hub%3Dgallery%2Cqueue%3Dflickr_rest");
        let selector = Selector {
            hub: "gallery".to_owned(),
            queue: Some("flickr_rest".to_owned()),
        };
        let namespace = "photos".to_owned();
        assert_eq!(asked, Ok(Asked::Backlog { namespace, selector }));
    }

    #[test]
    fn every_queue_of_a_hub_can_be_asked() {
        let asked = get(METRIC, "limit=500&labelSelector=hub%3D%3Dgallery");
        assert!(matches!(asked, Ok(Asked::Backlog { selector, .. }) if selector.queue.is_none()));
    }

    #[test]
    fn labels_that_select_no_hub_are_refused() {
        for query in [
            "",
            "labelSelector=",
            "labelSelector=queue%3Dflickr_rest",
            "labelSelector=hub%3D",
            "labelSelector=hub%3Da%2Chub%3Db",
            "labelSelector=hub%21%3Da",
            "labelSelector=hub+in+%28a%29",
            "labelSelector=hub%3Da%2Cother%3Db",
        ] {
            let asked = get(METRIC, query);
            assert!(
                matches!(asked, Err(Misunderstood::Selector(_))),
                "{query}: {asked:?}"
            );
        }
    }

    #[test]
    fn discovery_and_health_are_known_and_nothing_else() {
        assert_eq!(
            get("/apis/external.metrics.k8s.io/v1beta1", ""),
            Ok(Asked::Discovery)
        );
        assert_eq!(get("/readyz", ""), Ok(Asked::Health));
        for path in [
            "/",
            "/apis",
            "/openapi/v2",
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/photos/another",
            "/apis/custom.metrics.k8s.io/v1beta1",
        ] {
            assert_eq!(get(path, ""), Err(Misunderstood::NotFound), "{path}");
        }
        let post = Asked::read(&Method::POST, METRIC, Some("labelSelector=hub%3Da"));
        assert_eq!(post, Err(Misunderstood::Method));
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_answered(path in "(/[a-z0-9.%]*){0,8}", query in "[ -~]{0,60}") {
            let _ = get(&path, &query);
            let _ = get(METRIC, &query);
        }
    }
}
