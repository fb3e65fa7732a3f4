//! The body of a problem.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Problem, TYPE_BASE};

/// One thing that is wrong with one field of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field: its path in the JSON body (`params.photo_id`), its name in the query, path or multipart form.
    #[schema(example = "params.photo_id")]
    pub field: String,
    /// What is wrong with it, and what would be right.
    #[schema(example = "flickr.photos.getInfo needs this argument")]
    pub message: String,
}

/// The longest name of a field that is given back, in characters. Names can be the client's own, and as long as a body.
const MAX_NAME: usize = 64;
/// The longest message in characters; what it repeats of the request is cut off.
const MAX_MESSAGE: usize = 256;

impl FieldError {
    /// `field` is wrong because of `message`. Either is cut off where it is too long to be of use.
    pub fn new(field: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            field: cut(field.as_ref(), MAX_NAME),
            message: cut(message.as_ref(), MAX_MESSAGE),
        }
    }
}

/// The text, or as many of its characters as fit.
fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Problem {
    /// The body of the answer.
    pub fn document(&self, trace_id: &str) -> ProblemDocument {
        ProblemDocument {
            r#type: format!("{TYPE_BASE}{}", self.code()),
            title: self.title().to_owned(),
            status: self.status().as_u16(),
            detail: self.detail().into_owned(),
            code: self.code().to_owned(),
            trace_id: trace_id.to_owned(),
            errors: self.errors(),
        }
    }
}

/// An RFC 9457 problem details object, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// A stable URI of this kind of problem.
    #[schema(example = "https://flickrhub.dev/problems/invalid_request")]
    pub r#type: String,
    /// A sentence about this kind of problem.
    pub title: String,
    /// The HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// A sentence about this occurrence.
    pub detail: String,
    /// The stable name of this kind of problem.
    #[schema(example = "invalid_request")]
    pub code: String,
    /// The trace id of the request, also in the header `X-Trace-Id`.
    #[schema(example = "4bf92f3577b34da6a3ce929d0e0e4736")]
    pub trace_id: String,
    /// The fields that are wrong; absent where no field is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_names_its_type_code_status_trace_and_fields() {
        let document = Problem::field("params.photo_id", "is missing").document("abc");
        assert_eq!(
            serde_json::to_value(document).ok(),
            Some(serde_json::json!({
                "type": "https://flickrhub.dev/problems/invalid_request",
                "title": "Fields of the request are wrong",
                "status": 422,
                "detail": "The member errors names each field and what would be right.",
                "code": "invalid_request",
                "trace_id": "abc",
                "errors": [{"field": "params.photo_id", "message": "is missing"}],
            }))
        );
    }

    #[test]
    fn a_problem_repeats_little_of_what_the_client_sent() {
        let error = FieldError::new("ä".repeat(1_000_000), "b".repeat(1_000_000));
        assert_eq!(error.field, format!("{}…", "ä".repeat(64)));
        assert_eq!(error.message.chars().count(), 257);
        let error = FieldError::new("a".repeat(64), "is missing");
        assert_eq!(error.field.len(), 64);
    }

    #[test]
    fn a_problem_without_a_wrong_field_has_no_errors_member() {
        let document = serde_json::to_value(Problem::Internal.document("abc")).unwrap_or_default();
        assert_eq!(document.get("errors"), None);
    }
}
