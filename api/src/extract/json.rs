//! A JSON body.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::MediaType;
use crate::problem::Problem;
use crate::state::AppState;

/// A JSON body of the shape `T`, at most as long as the configuration allows.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<AppState> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Problem> {
        MediaType::Json.check(request.headers())?;
        let limit = state.config.api.max_body_bytes;
        let declared = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|length| length > limit) {
            return Err(Problem::BodyTooLarge { limit });
        }
        let bytes = read(request.into_body(), limit).await?;
        parse_json(&bytes).map(Self)
    }
}

/// The whole body, unless it is longer than `limit` bytes.
async fn read(body: Body, limit: u64) -> Result<Bytes, Problem> {
    let body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::BodyTooLarge { limit }),
        Err(_) => Err(Problem::BodyIncomplete),
    }
}

/// Reads JSON of the shape `T`.
///
/// # Errors
/// [`Problem::BodyEmpty`], [`Problem::InvalidJson`], or [`Problem::InvalidRequest`] naming the place by its path.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii().is_empty() {
        return Err(Problem::BodyEmpty);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        problem_of(error.inner(), &path)
    })?;
    deserializer.end().map_err(|error| problem_of(&error, ""))?;
    Ok(value)
}

fn problem_of(error: &serde_json::Error, path: &str) -> Problem {
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let message = text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(message, _)| message);
            let field = if matches!(path, "" | "." | "?") {
                "body"
            } else {
                path
            };
            Problem::field(field, message)
        }
        Category::Syntax | Category::Eof | Category::Io => Problem::InvalidJson {
            line: error.line(),
            column: error.column(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(expecting = "a JSON object")]
    struct Shape {
        outer: Inner,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        count: u32,
    }

    fn parse(text: &str) -> Result<Shape, Problem> {
        parse_json(text.as_bytes())
    }

    #[test]
    fn json_of_the_right_shape_is_read() {
        assert_eq!(
            parse(" {\"outer\":{\"count\":3}} \n").map(|shape| shape.outer.count),
            Ok(3)
        );
    }

    #[test]
    fn no_body_and_no_json_are_told_apart() {
        assert_eq!(parse(""), Err(Problem::BodyEmpty));
        assert_eq!(parse(" \n"), Err(Problem::BodyEmpty));
        for text in [
            "{",
            "user_id=5",
            "{\"outer\":{\"count\":3}} x",
            "\u{0}",
            "{\"outer\":{\"count\":3},}",
        ] {
            assert!(matches!(parse(text), Err(Problem::InvalidJson { .. })), "{text}");
        }
        assert!(matches!(
            parse_json::<Shape>(b"\xff\xfe"),
            Err(Problem::InvalidJson { .. })
        ));
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        assert_eq!(
            parse("{\"outer\":{\"count\":\"3\"}}"),
            Err(Problem::field(
                "outer.count",
                "invalid type: string \"3\", expected u32"
            ))
        );
        assert_eq!(
            parse("5"),
            Err(Problem::field(
                "body",
                "invalid type: integer `5`, expected a JSON object"
            ))
        );
    }
}
