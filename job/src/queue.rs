//! The queues. Each has its own workers, limits and dead-letter queue, so that one cannot starve another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A queue of Flickr work.
///
/// The serialised form is the name in RabbitMQ and in the HTTP API, for example `flickr_rest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Queue {
    /// Calls of the REST endpoint.
    #[serde(rename = "flickr_rest")]
    Rest,
    /// Photo uploads.
    #[serde(rename = "flickr_upload")]
    Upload,
    /// Replacements of a photo that exists.
    #[serde(rename = "flickr_replace")]
    Replace,
}

impl Queue {
    /// Every queue, in the order in which documents and status list them.
    pub const ALL: [Self; 3] = [Self::Rest, Self::Upload, Self::Replace];

    /// The name in RabbitMQ, in metrics and in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "flickr_rest",
            Self::Upload => "flickr_upload",
            Self::Replace => "flickr_replace",
        }
    }

    /// The short name, used in the resource (`spec.queues.rest`) and in names of Kubernetes objects.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Upload => "upload",
            Self::Replace => "replace",
        }
    }

    /// The queue that holds messages which were given up.
    pub const fn dead_letter_name(self) -> &'static str {
        match self {
            Self::Rest => "flickr_rest.dlq",
            Self::Upload => "flickr_upload.dlq",
            Self::Replace => "flickr_replace.dlq",
        }
    }

    /// The queue of the jobs of this method: `upload` and `replace` have their own, and what Flickr's REST endpoint takes is in
    /// one.
    pub fn of_method(method: &str) -> Self {
        let own = |queue: &Self| queue.has_body() && queue.short_name() == method;
        Self::ALL.into_iter().find(own).unwrap_or(Self::Rest)
    }

    /// Whether a job of this queue carries a photo.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Upload | Self::Replace)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no queue.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a queue; the queues are rest, upload and replace")]
pub struct UnknownQueue(String);

impl FromStr for Queue {
    type Err = UnknownQueue;

    /// Reads the full or the short name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|queue| queue.name() == text || queue.short_name() == text)
            .ok_or_else(|| UnknownQueue(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_of_a_queue_are_read_back() {
        for queue in Queue::ALL {
            assert_eq!(queue.name().parse::<Queue>().ok(), Some(queue));
            assert_eq!(queue.short_name().parse::<Queue>().ok(), Some(queue));
            assert_eq!(
                serde_json::to_value(queue).ok(),
                Some(serde_json::Value::from(queue.name()))
            );
        }
    }

    #[test]
    fn every_method_has_one_queue() {
        for (method, queue) in [
            ("flickr.photos.search", Queue::Rest),
            ("rest", Queue::Rest),
            ("upload", Queue::Upload),
            ("replace", Queue::Replace),
        ] {
            assert_eq!(Queue::of_method(method), queue, "{method}");
        }
    }

    #[test]
    fn another_name_is_refused_with_the_names_that_work() {
        let error = "flickr".parse::<Queue>().map_err(|e| e.to_string());
        assert_eq!(
            error,
            Err("\"flickr\" is not a queue; the queues are rest, upload and replace".to_owned())
        );
    }
}
