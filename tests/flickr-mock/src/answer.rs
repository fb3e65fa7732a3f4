//! Answers in Flickr's forms.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

/// What a call answers, before it is written in a form. It can hold secrets, and has no `Debug`.
pub(crate) enum Answer {
    /// A REST success; `stat` is added.
    Json(Map<String, Value>),
    /// An upload's success: the element inside `<rsp>`.
    Xml(String),
    /// A step of the OAuth flow.
    Form(Vec<(&'static str, String)>),
    /// A redirection of a browser.
    Redirect(String),
    /// A page for a person.
    Page(String),
    /// `stat=fail`, in JSON or XML by `Style`.
    Fail(Fail),
    /// A refused signature or token.
    Problem(Problem),
}

/// A code and message, with further attributes for uploads.
#[derive(Debug, Clone)]
pub(crate) struct Fail {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) attributes: Vec<(&'static str, String)>,
}

/// An `oauth_problem`, and the base string that the server would have signed.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) problem: String,
    pub(crate) base_string: Option<String>,
}

/// How failures are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Json,
    Xml,
}

impl Fail {
    pub(crate) fn new(code: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            attributes: Vec::new(),
        }
    }
}

impl Problem {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            base_string: None,
        }
    }
}

impl From<Fail> for Answer {
    fn from(fail: Fail) -> Self {
        Self::Fail(fail)
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Answer {
    /// A REST success from a JSON object.
    pub(crate) fn json(value: Value) -> Self {
        match value {
            Value::Object(object) => Self::Json(object),
            _ => Self::Json(Map::new()),
        }
    }

    /// Flickr's code or `oauth_problem`, if the answer is a failure.
    pub(crate) fn error(&self) -> Option<String> {
        match self {
            Self::Fail(fail) => Some(fail.code.to_string()),
            Self::Problem(problem) => Some(problem.problem.clone()),
            _ => None,
        }
    }

    /// The answer as HTTP.
    pub(crate) fn into_response(self, style: Style) -> Response {
        match self {
            Self::Json(mut object) => {
                object.insert("stat".into(), "ok".into());
                json_response(&Value::Object(object))
            }
            Self::Xml(element) => xml_response(&format!("<rsp stat=\"ok\">\n{element}\n</rsp>")),
            Self::Form(fields) => {
                let mut body = form_urlencoded::Serializer::new(String::new());
                for (name, value) in fields {
                    body.append_pair(name, &value);
                }
                typed("text/plain; charset=utf-8", body.finish())
            }
            Self::Redirect(to) => (StatusCode::FOUND, [(LOCATION, to)]).into_response(),
            Self::Page(html) => typed("text/html; charset=utf-8", html),
            Self::Fail(fail) => fail_response(&fail, style),
            Self::Problem(problem) => {
                let mut body = format!("oauth_problem={}", problem.problem);
                if let Some(base) = problem.base_string {
                    body.push_str("&debug_sbs=");
                    body.push_str(&base);
                }
                (StatusCode::UNAUTHORIZED, typed("text/plain; charset=utf-8", body)).into_response()
            }
        }
    }
}

/// The page of a server in front of Flickr.
pub(crate) fn html_error(status: StatusCode, retry_after: Option<u64>) -> Response {
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{reason}</title></head><body><h1>{status}</h1></body></html>\n"
    );
    let mut response = (status, typed("text/html", page)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// A success of no documented form.
pub(crate) fn wrong_body() -> Response {
    typed(
        "text/plain",
        "\u{1f41d} this is not the answer you are looking for".to_owned(),
    )
}

/// As [`wrong_body`], of a given length.
pub(crate) fn long_body(bytes: usize) -> Response {
    typed("text/plain", "x".repeat(bytes))
}

fn fail_response(fail: &Fail, style: Style) -> Response {
    match style {
        Style::Json => json_response(&json!({"stat": "fail", "code": fail.code, "message": fail.message})),
        Style::Xml => {
            let mut attributes = format!("code=\"{}\" msg=\"{}\"", fail.code, xml_escape(&fail.message));
            for (name, value) in &fail.attributes {
                attributes.extend([" ", name, "=\"", &xml_escape(value), "\""]);
            }
            xml_response(&format!("<rsp stat=\"fail\">\n\t<err {attributes} />\n</rsp>"))
        }
    }
}

fn json_response(value: &Value) -> Response {
    typed("application/json", value.to_string())
}

fn xml_response(rsp: &str) -> Response {
    typed(
        "text/xml; charset=utf-8",
        format!("<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n{rsp}\n"),
    )
}

fn typed(content_type: &'static str, body: String) -> Response {
    ([(CONTENT_TYPE, content_type)], Body::from(body)).into_response()
}

/// Text for an XML attribute, or for HTML.
pub(crate) fn xml_escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
