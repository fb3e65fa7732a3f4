//! `spec.flickr`: Flickr and our applications there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BreakerSpec, SUBDOMAIN, rules};

/// Flickr and our applications there.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlickrSpec {
    /// The applications registered at Flickr, at least one. A user's token belongs to one of them.
    #[schemars(
        length(min = 1, max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub apps: Vec<FlickrAppSpec>,
    /// The addresses of Flickr. Change them only to test against a stand-in.
    #[serde(default)]
    pub endpoints: FlickrEndpointsSpec,
    /// When requests to Flickr stop because it does not answer.
    #[serde(default)]
    pub breaker: BreakerSpec,
}

/// One application key of Flickr.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlickrAppSpec {
    /// Our name of the application. Stored with every user's token, so it cannot be changed later without new logins.
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The Secret with the keys `consumerKey` and `consumerSecret`, as Flickr's App Garden shows them.
    pub credentials_secret_ref: SecretRef,
    /// Requests that Flickr allows this key in an hour, over all of its users.
    #[serde(default = "requests_per_hour")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_hour: u32,
}

/// Flickr counts 3,600 requests an hour per key unless it agreed to more.
const fn requests_per_hour() -> u32 {
    3600
}

/// A Secret in the namespace of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret, in the namespace of the hub.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
}

/// The addresses of Flickr.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules([
    ("isURL(self.rest) && url(self.rest).getScheme() in ['http', 'https']", "rest must be an http or https URL, for example https://api.flickr.com/services/rest"),
    ("isURL(self.upload) && url(self.upload).getScheme() in ['http', 'https']", "upload must be an http or https URL, for example https://up.flickr.com/services"),
    ("isURL(self.oauth) && url(self.oauth).getScheme() in ['http', 'https']", "oauth must be an http or https URL, for example https://www.flickr.com/services/oauth"),
])))]
pub struct FlickrEndpointsSpec {
    /// The REST endpoint.
    #[schemars(length(max = 2048))]
    pub rest: String,
    /// The base of `upload/` and `replace/`.
    #[schemars(length(max = 2048))]
    pub upload: String,
    /// The base of `request_token`, `authorize` and `access_token`.
    #[schemars(length(max = 2048))]
    pub oauth: String,
}

impl Default for FlickrEndpointsSpec {
    fn default() -> Self {
        Self {
            rest: "https://api.flickr.com/services/rest".to_owned(),
            upload: "https://up.flickr.com/services".to_owned(),
            oauth: "https://www.flickr.com/services/oauth".to_owned(),
        }
    }
}
