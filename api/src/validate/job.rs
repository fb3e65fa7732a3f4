//! A job as a client submits it.

use std::collections::BTreeMap;

use flickrhub_flickr::Method;
use flickrhub_job::callback::AddressPolicy;
use flickrhub_job::model::Priority;
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::options::{self, JobOptions};
use super::user_id::user_id;
use super::{Argument, Findings, MAX_FIELD_BYTES};
use crate::problem::Problem;

/// Arguments that the hub itself adds to every call: a client's would break the signature or the answer.
const RESERVED: [&str; 8] = [
    "method",
    "api_key",
    "api_sig",
    "auth_token",
    "format",
    "nojsoncallback",
    "jsoncallback",
    "photo",
];
/// The longest name of an argument in bytes.
const MAX_ARGUMENT_NAME: usize = 64;
/// Required arguments that mean something when they are empty: they clear what was there.
const MAY_BE_EMPTY: [&str; 2] = ["description", "tags"];

/// A call of one Flickr method on behalf of one user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub struct JobSubmission {
    /// The Flickr user (NSID); must have authorised the client.
    #[schema(value_type = String, required = true, example = "12037949754@N01")]
    user_id: Option<String>,
    /// The Flickr method. Photos are sent to `/api/v1/uploads` and `/api/v1/photos/{photo_id}/replace` instead.
    #[schema(value_type = String, required = true, example = "flickr.photos.search")]
    method: Option<String>,
    /// The arguments of the method by name, each a string, a number or a boolean.
    #[schema(value_type = Option<Object>, example = json!({"text": "lighthouse", "per_page": 10}))]
    params: Option<BTreeMap<String, Argument>>,
    /// The order among the user's other jobs; normal without it.
    #[schema(value_type = Option<Priority>)]
    priority: Option<String>,
    /// Where to deliver the finished job (Standard Webhooks); https.
    #[schema(value_type = Option<String>, format = "uri", example = "https://example.com/hooks/flickr")]
    callback_url: Option<String>,
    /// Seconds after which the job is not started any more: 1 to 604800.
    #[schema(minimum = 1, maximum = 604_800, example = 3600)]
    expires_in: Option<i64>,
    #[serde(flatten)]
    #[schema(ignore)]
    #[expect(
        clippy::zero_sized_map_values,
        reason = "serde flattens into maps, not into sets"
    )]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// A call that can be made, provided that its user authorised it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidJob {
    /// The Flickr user.
    pub user_id: String,
    /// The method.
    pub method: &'static Method,
    /// Its arguments; every required one is there.
    pub params: BTreeMap<String, String>,
    /// How it is to be run.
    pub options: JobOptions,
}

impl JobSubmission {
    /// Checks everything that can be checked without asking another process.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming every field that is wrong.
    pub fn validate(self, policy: &AddressPolicy) -> Result<ValidJob, Problem> {
        let mut findings = Findings::default();
        for name in self.unknown.into_keys() {
            findings.note(name, "is not a field of a job");
        }
        let user_id = findings
            .required("user_id", self.user_id)
            .and_then(|text| findings.check("user_id", user_id(text)));
        let method = findings
            .required("method", self.method)
            .and_then(|name| findings.check("method", method(&name)));
        let params = arguments(self.params.unwrap_or_default(), method, &mut findings);
        let options = JobOptions {
            priority: self
                .priority
                .and_then(|text| findings.check("priority", options::priority(&text)))
                .unwrap_or_default(),
            callback_url: self
                .callback_url
                .and_then(|text| findings.check("callback_url", options::callback_url(&text, policy))),
            expires_in: self
                .expires_in
                .and_then(|seconds| findings.check("expires_in", options::expires_in(seconds))),
        };
        let job = user_id.zip(method).map(|(user_id, method)| ValidJob {
            user_id,
            method,
            params,
            options,
        });
        findings.conclude(job)
    }
}

/// The method of this name, if clients may call it as a job.
fn method(name: &str) -> Result<&'static Method, &'static str> {
    if matches!(name, "upload" | "replace") {
        return Err("photos are sent to POST /api/v1/uploads or POST /api/v1/photos/{photo_id}/replace");
    }
    if name.starts_with("flickr.auth.") {
        return Err("authorisation is done with POST /api/v1/oauth/start, not by a job");
    }
    Method::lookup(name).ok_or("is not a method of the Flickr API; see https://www.flickr.com/services/api/")
}

fn arguments(
    given: BTreeMap<String, Argument>,
    method: Option<&'static Method>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    for (name, Argument(value)) in &given {
        if let Err(message) = argument_name(name) {
            findings.note(format!("params.{name}"), message);
        } else if value.len() > MAX_FIELD_BYTES {
            findings.note(
                format!("params.{name}"),
                format!("has more than {MAX_FIELD_BYTES} bytes"),
            );
        }
    }
    if let Some(method) = method {
        let given = given
            .iter()
            .map(|(name, value)| (name.as_str(), value.0.as_str()))
            .filter(|(name, value)| !value.is_empty() || MAY_BE_EMPTY.contains(name));
        for name in method.missing_arguments(given) {
            findings.note(
                format!("params.{name}"),
                format!("{} needs this argument", method.name),
            );
        }
    }
    given
        .into_iter()
        .map(|(name, Argument(value))| (name, value))
        .collect()
}

fn argument_name(name: &str) -> Result<(), &'static str> {
    let fits = (1..=MAX_ARGUMENT_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        Err("is no name of an argument: letters, digits and underscores, at most 64")
    } else if RESERVED.contains(&name) || name.starts_with("oauth_") {
        Err("is added by the hub; leave it out")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::extract::parse_json;

    fn validate(body: &Value) -> Result<ValidJob, Problem> {
        parse_json::<JobSubmission>(body.to_string().as_bytes())?.validate(&AddressPolicy::new(Vec::new()))
    }

    /// The body of a good job with some members replaced or, by null, removed.
    fn job_with(changes: &Value) -> Value {
        let mut body = json!({
            "user_id": "12037949754@N01",
            "method": "flickr.photos.getInfo",
            "params": {"photo_id": 53_000_000_001_u64, "secret": "x", "flag": true},
            "priority": "high",
            "callback_url": "https://example.com/hook",
            "expires_in": 60,
        });
        if let (Some(body), Some(changes)) = (body.as_object_mut(), changes.as_object()) {
            for (name, value) in changes {
                body.insert(name.clone(), value.clone());
            }
            body.retain(|_, value| !value.is_null());
        }
        body
    }

    #[test]
    fn a_good_job_is_taken_as_it_was_meant() {
        let job = validate(&job_with(&json!({})));
        let job = job.unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(job.user_id, "12037949754@N01");
        assert_eq!(job.method.name, "flickr.photos.getInfo");
        assert_eq!(
            job.params.get("photo_id").map(String::as_str),
            Some("53000000001")
        );
        assert_eq!(job.params.get("flag").map(String::as_str), Some("1"));
        assert_eq!(job.options.priority, Priority::High);
        assert_eq!(job.options.expires_in, Some(Duration::from_mins(1)));
    }

    #[test]
    fn options_may_be_left_out() {
        let body = job_with(&json!({"priority": null, "callback_url": null, "expires_in": null}));
        assert_eq!(validate(&body).map(|job| job.options), Ok(JobOptions::default()));
    }

    #[test]
    fn an_empty_text_clears_what_was_there() {
        let body = json!({"method": "flickr.photos.setTags", "params": {"photo_id": 1, "tags": ""}});
        assert!(validate(&job_with(&body)).is_ok());
    }

    #[test]
    fn a_million_wrong_fields_make_a_short_answer() {
        let mut body = job_with(&json!({}));
        let mut params = json!({"photo_id": 1});
        for number in 0..5_000 {
            body[format!("{number}{}", "x".repeat(1_000))] = json!(1);
            params[format!("{number} {}", "x".repeat(1_000))] = json!(1);
        }
        body["params"] = params;
        let problem = validate(&body).map_or_else(|problem| problem, |job| panic!("{job:?}"));
        assert_eq!(problem.errors().len(), 20);
        let document = serde_json::to_string(&problem.document("t")).unwrap_or_default();
        assert!(document.len() < 10_000, "{}", document.len());
    }

    #[test]
    fn each_wrong_field_is_named() {
        let rows = [
            (json!({"user_id": null}), vec!["user_id"]),
            (json!({"user_id": "somebody"}), vec!["user_id"]),
            (json!({"user_id": 5}), vec!["user_id"]),
            (json!({"method": null}), vec!["method"]),
            (json!({"method": "flickr.photos.getinfo"}), vec!["method"]),
            (json!({"method": "flickr.auth.getFrob"}), vec!["method"]),
            (json!({"method": "upload"}), vec!["method"]),
            (json!({"method": ["flickr.photos.getInfo"]}), vec!["method"]),
            (json!({"params": null}), vec!["params.photo_id"]),
            (json!({"params": {}}), vec!["params.photo_id"]),
            (json!({"params": []}), vec!["params"]),
            (json!({"params": "photo_id=5"}), vec!["params"]),
            (json!({"params": {"photo_id": null}}), vec!["params.photo_id"]),
            (json!({"params": {"photo_id": ""}}), vec!["params.photo_id"]),
            (
                json!({"params": {"photo_id": 1, "secret": "x".repeat(MAX_FIELD_BYTES + 1)}}),
                vec!["params.secret"],
            ),
            (
                json!({"params": {"photo_id": 1, "secret": "x".repeat(MAX_FIELD_BYTES)}}),
                vec![],
            ),
            (json!({"priority": 5}), vec!["priority"]),
            (json!({"params": {"photo_id": [1]}}), vec!["params.photo_id"]),
            (json!({"params": {"photo_id": 1, "a b": 1}}), vec!["params.a b"]),
            (
                json!({"params": {"photo_id": 1, "api_key": "k"}}),
                vec!["params.api_key"],
            ),
            (
                json!({"params": {"photo_id": 1, "oauth_token": "k"}}),
                vec!["params.oauth_token"],
            ),
            (json!({"priority": "urgent"}), vec!["priority"]),
            (
                json!({"callback_url": "http://example.com"}),
                vec!["callback_url"],
            ),
            (json!({"expires_in": 0}), vec!["expires_in"]),
            (json!({"expires_in": 604_801}), vec!["expires_in"]),
            (json!({"expires_in": 1.5}), vec!["expires_in"]),
            (json!({"expires_in": "60"}), vec!["expires_in"]),
            (json!({"userid": 1, "extra": {}}), vec!["extra", "userid"]),
            (
                json!({"user_id": null, "method": "x", "expires_in": -1}),
                vec!["user_id", "method", "expires_in"],
            ),
        ];
        for (changes, fields) in rows {
            let problem = validate(&job_with(&changes));
            let named: Vec<_> = problem.as_ref().map_or_else(Problem::errors, |_| Vec::new());
            let named: Vec<_> = named.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(named, fields, "{changes}");
        }
    }
}
