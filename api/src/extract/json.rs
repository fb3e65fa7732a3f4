//! A JSON body.

use std::error::Error;

use axum::body::Body;
use axum::extract::{FromRequest, OptionalFromRequest, Request};
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio::time::Instant;

use super::MediaType;
use crate::auth::signature::digest::is_mismatch;
use crate::patience::Patience;
use crate::problem::Problem;
use crate::state::AppState;
use crate::validate::Argument;

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
            return Err(Problem::BodyTooLarge { limit, field: None });
        }
        let bytes = read(request.into_body(), limit, state.patience).await?;
        parse_json(&bytes).map(Self)
    }
}

/// `Option<JsonBody<T>>`: a body that may be absent. One that is there must be JSON, and be declared as such.
impl<T: DeserializeOwned> OptionalFromRequest<AppState> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &AppState) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<AppState>>::from_request(request, state)
            .await
            .map(Some)
    }
}

/// The whole body, unless it is longer than `limit` bytes, or its client is slower than there is patience for.
async fn read(body: Body, limit: u64, patience: Patience) -> Result<Bytes, Problem> {
    let mut body = Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX));
    let deadline = Instant::now() + patience.body;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let now = Instant::now();
        // What is ready comes through a time limit that is over.
        if now >= deadline {
            return Err(Problem::BodyIncomplete);
        }
        let until = deadline.min(now + patience.body_piece);
        let next = tokio::time::timeout_at(until, body.frame()).await;
        let Some(frame) = next.map_err(|_| Problem::BodyIncomplete)? else {
            break;
        };
        let frame = frame.map_err(|error| problem_of_body(error.as_ref(), limit))?;
        match frame.into_data() {
            // Most bodies come in one piece, which is then not copied.
            Ok(piece) if first.is_empty() => first = piece,
            Ok(piece) => {
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&piece);
            }
            // Trailers.
            Err(_) => {}
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn problem_of_body(error: &(dyn Error + Send + Sync + 'static), limit: u64) -> Problem {
    if error.is::<LengthLimitError>() {
        Problem::BodyTooLarge { limit, field: None }
    } else if is_mismatch(error) {
        Problem::DigestMismatch
    } else {
        Problem::BodyIncomplete
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
            let text = text
                .rsplit_once(" at line ")
                .map_or(text.as_str(), |(message, _)| message);
            let path = if matches!(path, "" | "." | "?") {
                "body"
            } else {
                path
            };
            let (field, message) = finding(text, path);
            Problem::field(field, message)
        }
        Category::Syntax | Category::Eof | Category::Io => Problem::InvalidJson {
            line: error.line(),
            column: error.column(),
        },
    }
}

/// The field, and what would be right. What serde says names Rust's types and repeats what the client sent, which may
/// be as long as a body; of its text only our own words are taken.
fn finding<'a>(text: &'a str, path: &'a str) -> (&'a str, String) {
    let quoted = |before: &str| text.strip_prefix(before)?.strip_suffix('`');
    if let Some(name) = quoted("duplicate field `") {
        return (name, "is given twice".to_owned());
    }
    if let Some((name, _)) = text
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.rsplit_once("`, expected "))
    {
        return (name, "is not a field of this body".to_owned());
    }
    if let Some(name) = quoted("missing field `") {
        return (name, "is missing".to_owned());
    }
    // The client's words come before the last of these.
    if let Some((_, names)) = text.rsplit_once(", expected one of ") {
        return (path, format!("is one of {}", names.replace('`', "")));
    }
    let message = match text.rsplit_once(", expected ") {
        Some((_, "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64")) => "is a whole number",
        Some((_, "f32" | "f64")) => "is a number",
        Some((_, "a string")) => "is a string",
        Some((_, "a boolean")) => "is true or false",
        Some((_, "a sequence")) => "is a JSON array",
        Some((_, "a map" | "a JSON object")) => "is a JSON object",
        Some((_, Argument::EXPECTED)) => return (path, format!("is {}", Argument::EXPECTED)),
        _ => "has the wrong type",
    };
    (path, message.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
            Err(Problem::field("outer.count", "is a whole number"))
        );
        assert_eq!(parse("5"), Err(Problem::field("body", "is a JSON object")));
        assert_eq!(
            parse("{\"outer\":{\"count\":\", expected f64\"}}"),
            Err(Problem::field("outer.count", "is a whole number"))
        );
    }

    #[test]
    fn a_field_that_is_given_twice_or_not_at_all_is_named() {
        let outer = "\"outer\":{\"count\":3}";
        assert_eq!(
            parse(&format!("{{{outer},{outer}}}")),
            Err(Problem::field("outer", "is given twice"))
        );
        assert_eq!(parse("{}"), Err(Problem::field("outer", "is missing")));
    }

    #[test]
    fn arguments_are_told_what_they_may_be() {
        assert_eq!(
            parse_json::<Argument>(b"[]"),
            Err(Problem::field("body", "is a string, a number or a boolean"))
        );
    }

    #[test]
    fn json_that_is_nested_without_end_is_refused() {
        let deep = format!("{{\"outer\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_err());
        assert!(matches!(
            parse_json::<serde_json::Value>(deep.as_bytes()),
            Err(Problem::InvalidJson { .. })
        ));
    }

    #[tokio::test]
    async fn pieces_are_put_together_and_counted() {
        let body = |count: usize| {
            let pieces = (0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"abc")));
            Body::from_stream(futures::stream::iter(pieces))
        };
        let read = async |count| read(body(count), 9, Patience::default()).await;
        assert_eq!(read(1).await, Ok(Bytes::from_static(b"abc")));
        assert_eq!(read(3).await, Ok(Bytes::from_static(b"abcabcabc")));
        let too_large = Problem::BodyTooLarge {
            limit: 9,
            field: None,
        };
        assert_eq!(read(4).await, Err(too_large));
    }

    #[tokio::test]
    async fn a_body_that_stands_still_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let patience = Patience {
            body_piece: Duration::from_millis(10),
            ..Patience::default()
        };
        assert_eq!(read(body, 9, patience).await, Err(Problem::BodyIncomplete));
    }

    #[tokio::test]
    async fn a_body_that_drips_is_given_up_in_the_end() {
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b"a")), ()))
        });
        let patience = Patience {
            body: Duration::from_millis(50),
            ..Patience::default()
        };
        assert_eq!(
            read(Body::from_stream(drip), u64::MAX, patience).await,
            Err(Problem::BodyIncomplete)
        );
    }

    #[test]
    fn what_the_client_sent_is_not_repeated() {
        let problem = parse(&format!("{{\"outer\":\"{}\"}}", "x".repeat(1_000_000)));
        assert_eq!(problem, Err(Problem::field("outer", "has the wrong type")));
    }
}
