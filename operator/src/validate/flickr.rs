//! `spec.flickr`.

use flickrhub_job::config::FlickrEndpoints;
use url::Url;

use super::{References, ValidationError};
use crate::crd::{FlickrAppSpec, FlickrEndpointsSpec};

/// The keys of a Secret with the credentials of a Flickr application.
pub(crate) const CREDENTIAL_KEYS: [&str; 2] = ["consumerKey", "consumerSecret"];

/// A Flickr application whose credentials exist.
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

pub(super) fn apps(apps: &[FlickrAppSpec], references: &References) -> Result<Vec<AppPlan>, ValidationError> {
    apps.iter().map(|app| checked_app(app, references)).collect()
}

fn checked_app(spec: &FlickrAppSpec, references: &References) -> Result<AppPlan, ValidationError> {
    let app = || spec.name.clone();
    let secret = || spec.credentials_secret_ref.name.clone();
    let found = references
        .secret(&spec.credentials_secret_ref.name)
        .ok_or_else(|| ValidationError::CredentialsSecretMissing {
            app: app(),
            secret: secret(),
        })?;
    if let Some(key) = CREDENTIAL_KEYS.into_iter().find(|key| !found.has(key)) {
        return Err(ValidationError::CredentialsKeyMissing {
            app: app(),
            secret: secret(),
            key,
        });
    }
    Ok(AppPlan {
        name: app(),
        secret: secret(),
        requests_per_hour: spec.requests_per_hour,
    })
}
