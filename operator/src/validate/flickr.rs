//! `spec.flickr`.

use flickrhub_job::config::FlickrEndpoints;
use url::Url;

use super::ValidationError;
use crate::crd::{FlickrAppSpec, FlickrEndpointsSpec};

/// The keys of a Secret with the credentials of a Flickr application.
pub(super) const CREDENTIAL_KEYS: [&str; 2] = ["consumerKey", "consumerSecret"];

/// A Flickr application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// Our name of it.
    pub name: String,
    /// The Secret with its credentials.
    pub secret: String,
    /// Requests that Flickr allows it in an hour.
    pub requests_per_hour: u32,
}

/// Reads an http or https URL. `field` is its path in the spec.
pub(super) fn http_url(field: &str, value: &str) -> Result<Url, ValidationError> {
    let invalid = |why: String| ValidationError::Url {
        field: field.to_owned(),
        value: value.to_owned(),
        why,
    };
    let url = Url::parse(value).map_err(|error| invalid(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid(format!("its scheme is {}", url.scheme())));
    }
    Ok(url)
}

pub(super) fn endpoints(spec: &FlickrEndpointsSpec) -> Result<FlickrEndpoints, ValidationError> {
    Ok(FlickrEndpoints {
        rest: http_url("flickr.endpoints.rest", &spec.rest)?,
        upload: http_url("flickr.endpoints.upload", &spec.upload)?,
        oauth: http_url("flickr.endpoints.oauth", &spec.oauth)?,
    })
}

pub(super) fn apps(apps: &[FlickrAppSpec]) -> Vec<AppPlan> {
    let plan = |app: &FlickrAppSpec| AppPlan {
        name: app.name.clone(),
        secret: app.credentials_secret_ref.name.clone(),
        requests_per_hour: app.requests_per_hour,
    };
    apps.iter().map(plan).collect()
}
