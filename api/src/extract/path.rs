//! Path parameters.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::problem::Problem;

/// The one parameter of the path.
#[derive(Debug)]
pub struct PathParam<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParam<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::<T>::from_request_parts(parts, state).await.map_err(|_| {
            Problem::field(
                parameter_name(parts),
                "is not of the form that this path has; see /docs",
            )
        })?;
        Ok(Self(value))
    }
}

/// The name between the braces of the route's template.
fn parameter_name(parts: &Parts) -> String {
    let template = parts
        .extensions
        .get::<axum::extract::MatchedPath>()
        .map(axum::extract::MatchedPath::as_str);
    let name = template.and_then(|text| text.split_once('{')?.1.split_once('}'));
    name.map_or_else(|| "path".to_owned(), |(name, _)| name.to_owned())
}
