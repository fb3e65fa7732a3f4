//! `/openapi.json`, and `/docs`: Swagger UI from files inside the binary.

mod archive;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;

use self::archive::Content;
use crate::problem::Problem;
use crate::state::AppState;

/// Scripts and styles of our own only; Swagger UI's icons are `data:` images.
const EXPLORER_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
);
/// The files change only with the binary.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
/// Where the files are in the archive of Swagger UI.
const FOLDER: &str = "swagger-ui-5.32.6/dist/";

/// A file of the explorer.
struct File {
    name: &'static str,
    content_type: HeaderValue,
    gzip: bool,
    bytes: Bytes,
}

/// The page and its script are ours, the rest is Swagger UI's.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let own = |name, content_type, text: &'static str| File {
        name,
        content_type: HeaderValue::from_static(content_type),
        gzip: false,
        bytes: Bytes::from_static(text.as_bytes()),
    };
    let vendored = |name, content_type| {
        let content = archive::find(SWAGGER_UI_VENDORED, &format!("{FOLDER}{name}"))?;
        let (gzip, bytes) = match content {
            Content::Plain(bytes) => (false, bytes),
            Content::Gzip(bytes) => (true, bytes),
        };
        Some(File {
            name,
            content_type: HeaderValue::from_static(content_type),
            gzip,
            bytes: bytes.into(),
        })
    };
    [
        Some(own(
            "index.html",
            "text/html; charset=utf-8",
            include_str!("index.html"),
        )),
        Some(own(
            "start.js",
            "text/javascript; charset=utf-8",
            include_str!("start.js"),
        )),
        vendored("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        vendored("swagger-ui.css", "text/css; charset=utf-8"),
        vendored("favicon-32x32.png", "image/png"),
    ]
    .into_iter()
    .flatten()
    .collect()
});

/// Serves `document` and the explorer of it.
pub fn router(document: Arc<str>) -> Router<AppState> {
    Router::new()
        .route(
            "/openapi.json",
            get(move || {
                let text = document.to_string();
                async move { ([(CONTENT_TYPE, "application/json")], text) }
            }),
        )
        // The page names its files relative to itself, so its address ends with a slash.
        .route("/docs", get(to_page))
        .route("/docs/", get(page))
        .route("/docs/{*path}", get(asset))
}

async fn to_page() -> Redirect {
    Redirect::permanent("/docs/")
}

async fn page() -> Response {
    file("index.html")
}

async fn asset(Path(path): Path<String>) -> Response {
    file(&path)
}

fn file(name: &str) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Problem::RouteNotFound.into_response();
    };
    let mut headers = HeaderMap::from_iter([
        (CONTENT_TYPE, file.content_type.clone()),
        (CONTENT_SECURITY_POLICY, EXPLORER_POLICY),
        (CACHE_CONTROL, ASK_AGAIN),
    ]);
    if file.gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    (headers, Body::from(file.bytes.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_in_the_binary() {
        let page = include_str!("index.html");
        let names = page
            .split(['"'])
            .filter(|text| [".js", ".css", ".png"].iter().any(|end| text.ends_with(end)));
        let names: Vec<_> = names.collect();
        assert_eq!(names.len(), 4);
        for name in names {
            assert!(
                FILES
                    .iter()
                    .any(|file| file.name == name && !file.bytes.is_empty()),
                "{name}"
            );
        }
    }

    #[test]
    fn the_page_runs_no_script_and_sets_no_style_of_its_own() {
        let page = include_str!("index.html");
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("<script>"));
    }
}
