//! The OpenAPI 3.1 document, made from the routes themselves.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes;

/// What the routes do not say: title, tags, how to authenticate.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "FlickrHub",
        description = "A gateway to the Flickr API: calls are jobs, run in fair order within Flickr's limits.\n\n\
            Errors are RFC 9457 problem details; every answer carries `X-Trace-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This hub")),
    tags(
        (name = "jobs", description = "Calls of Flickr's REST methods"),
        (name = "dead letters", description = "Jobs that were given up"),
        (name = "uploads", description = "Photos and videos"),
        (name = "callbacks", description = "Telling a client that its jobs are finished"),
        (name = "users", description = "Flickr users that authorise a client"),
        (name = "audit", description = "What was done with the API"),
        (name = "cache", description = "Answers that are kept"),
        (name = "health", description = "For the cluster"),
    ),
    modifiers(&ApiKey)
)]
struct Document;

struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("fh_<key id>_<secret>")
            .description(Some("An API key of a client."))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("api_key", SecurityScheme::Http(scheme));
    }
}

/// The document without the routes: what [`routes::documented`] begins with.
pub(crate) fn preamble() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    routes::documented(preamble()).into_openapi()
}

/// The document as text: what is served, and what `flickrhub-api openapi` prints.
///
/// # Errors
/// Never in practice: every part of a document has a JSON form.
pub fn text() -> Result<String, serde_json::Error> {
    document().to_pretty_json().map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The routes that need no API key, each for a reason.
    const OPEN: [&str; 3] = ["/api/v1/oauth/callback", "/healthz", "/readyz"];

    fn value() -> serde_json::Value {
        serde_json::to_value(document()).unwrap_or_default()
    }

    #[test]
    fn the_committed_document_is_the_one_that_the_routes_make() {
        let made = text().unwrap_or_default();
        assert!(
            made == include_str!("../openapi.json"),
            "api/openapi.json is out of date; run: flickrhub-api openapi > api/openapi.json"
        );
    }

    #[test]
    fn it_is_an_openapi_3_1_document() {
        assert!(
            value()["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1"))
        );
    }

    #[test]
    fn every_route_names_its_scope_unless_it_is_open_on_purpose() {
        let document = value();
        let paths = document["paths"].as_object().cloned().unwrap_or_default();
        assert!(paths.len() >= 9);
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                let secured = operation["security"][0]["api_key"][0].is_string();
                assert_eq!(secured, !OPEN.contains(&path.as_str()), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_operation_documents_its_problems() {
        for (path, operations) in value()["paths"].as_object().into_iter().flatten() {
            for (method, operation) in operations.as_object().into_iter().flatten() {
                if path.starts_with("/api/") {
                    let content = &operation["responses"]["default"]["content"];
                    assert!(content["application/problem+json"].is_object(), "{method} {path}");
                }
            }
        }
    }
}
