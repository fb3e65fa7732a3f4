//! What clients ask for about their callbacks: the rotation of the secret, an address to enable, a page of a list.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use flickrhub_job::callback::TryOutcome;
use flickrhub_job::store::{DeliveryId, EndpointId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;
use utoipa::ToSchema;

use super::Findings;
use super::list::{DEFAULT_LIMIT, limit};
use super::options::MAX_URL;
use crate::cursor::Cursor;
use crate::problem::Problem;

/// The longest overlap in seconds: a week.
const MAX_OVERLAP: i64 = 7 * 86_400;
/// The overlap in seconds where the client names none: a day.
const DEFAULT_OVERLAP: i64 = 86_400;

/// A wish to have the webhook secret replaced.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub struct RotateSecret {
    /// Seconds for which the present secret goes on signing beside the new one, 0 to 604800; a day without it. With 0 it
    /// signs no more from now on: for a secret that became known to others.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<i64>,
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: Unknown,
}

impl RotateSecret {
    /// How long the present secret goes on signing.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming the field.
    pub fn validate(self) -> Result<Duration, Problem> {
        let mut findings = Findings::default();
        self.unknown.note_in(&mut findings, "a rotation");
        let seconds = self.overlap_seconds.unwrap_or(DEFAULT_OVERLAP);
        let overlap = findings.check("overlap_seconds", overlap(seconds));
        findings.conclude(overlap)
    }
}

fn overlap(seconds: i64) -> Result<Duration, String> {
    match u64::try_from(seconds) {
        Ok(positive) if seconds <= MAX_OVERLAP => Ok(Duration::from_secs(positive)),
        _ => Err(format!("is a number of seconds from 0 to {MAX_OVERLAP}")),
    }
}

/// The fields of a body that it does not have.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
#[expect(
    clippy::zero_sized_map_values,
    reason = "serde flattens into maps, not into sets"
)]
struct Unknown(BTreeMap<String, IgnoredAny>);

impl Unknown {
    fn note_in(self, findings: &mut Findings, of: &str) {
        for name in self.0.into_keys() {
            findings.note(name, format!("is not a field of {of}"));
        }
    }
}

/// The address that is to be enabled: by its `id` in the list of disabled addresses, or as the jobs name it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub struct EnableEndpoint {
    /// The address as the jobs name it, with its query.
    #[schema(format = "uri", example = "https://example.com/hooks/flickr")]
    url: Option<String>,
    /// Its id in the list of disabled addresses.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    id: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    unknown: Unknown,
}

impl EnableEndpoint {
    /// Which address of the client it is.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming the field.
    pub fn validate(self, client_id: &str) -> Result<EndpointId, Problem> {
        let mut findings = Findings::default();
        self.unknown.note_in(&mut findings, "an address to enable");
        let id = match (self.url, self.id) {
            (Some(url), None) => findings.check("url", endpoint_at(client_id, &url)),
            (None, Some(id)) => findings.check("id", id.parse::<EndpointId>()),
            (None, None) => findings.required("url", None),
            (Some(_), Some(_)) => {
                findings.note("id", "is one too many; name the address by url or by id");
                None
            }
        };
        findings.conclude(id)
    }
}

fn endpoint_at(client_id: &str, url: &str) -> Result<EndpointId, String> {
    if url.len() > MAX_URL {
        return Err(format!("has more than {MAX_URL} bytes"));
    }
    let url = Url::parse(url).map_err(|error| format!("is no URL: {error}"))?;
    Ok(EndpointId::of(client_id, &url))
}

/// Which entries of the delivery log to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryQuery {
    /// Tries that came to this only.
    pub outcome: Option<TryOutcome>,
    /// Older than this entry only.
    pub cursor: Option<Cursor<DeliveryId>>,
    /// How many, 1 to 100.
    pub limit: u32,
}

impl DeliveryQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut outcome = None;
        let page = Page::parse(
            query,
            "outcome, cursor and limit",
            &mut findings,
            |name, value, findings| {
                let known = name == "outcome";
                if known {
                    outcome = findings.check(name, outcome_of(value));
                }
                known
            },
        );
        findings.conclude(Some(Self {
            outcome,
            cursor: page.cursor,
            limit: page.limit,
        }))
    }
}

fn outcome_of(text: &str) -> Result<TryOutcome, String> {
    TryOutcome::from_name(text).ok_or_else(|| {
        let names = TryOutcome::ALL.map(TryOutcome::name).join(", ");
        format!("is one of {names}")
    })
}

/// Which disabled addresses to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointQuery {
    /// Behind this one only.
    pub cursor: Option<Cursor<EndpointId>>,
    /// How many, 1 to 100.
    pub limit: u32,
}

impl EndpointQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let page = Page::parse(query, "cursor and limit", &mut findings, |_, _, _| false);
        findings.conclude(Some(Self {
            cursor: page.cursor,
            limit: page.limit,
        }))
    }
}

/// What every list takes.
struct Page<T> {
    cursor: Option<Cursor<T>>,
    limit: u32,
}

impl<T: FromStr> Page<T> {
    /// `other` takes the parameters of one list alone, and says whether it knows them. `names`: all that there are.
    fn parse(
        query: &str,
        names: &str,
        findings: &mut Findings,
        mut other: impl FnMut(&str, &str, &mut Findings) -> bool,
    ) -> Self {
        let mut page = Self {
            cursor: None,
            limit: DEFAULT_LIMIT,
        };
        findings.each_parameter(query, names, |name, value, findings| {
            match name {
                "cursor" => page.cursor = findings.check(name, value.parse()),
                "limit" => page.limit = findings.check(name, limit(&value)).unwrap_or(DEFAULT_LIMIT),
                _ => return other(name, &value, findings),
            }
            true
        });
        page
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::extract::parse_json;

    fn fields<T>(outcome: Result<T, Problem>) -> Vec<String> {
        let errors = outcome.map_or_else(|problem| problem.errors(), |_| Vec::new());
        errors.into_iter().map(|error| error.field).collect()
    }

    fn overlap(body: &Value) -> Result<Duration, Problem> {
        parse_json::<RotateSecret>(body.to_string().as_bytes())?.validate()
    }

    #[test]
    fn a_secret_is_replaced_within_a_week_and_a_day_by_default() {
        assert_eq!(RotateSecret::default().validate(), Ok(Duration::from_hours(24)));
        for (seconds, fits) in [(-1, false), (0, true), (604_800, true), (604_801, false)] {
            let overlap = overlap(&json!({"overlap_seconds": seconds}));
            assert_eq!(overlap.is_ok(), fits, "{seconds}");
            assert_eq!(fields(overlap).is_empty(), fits, "{seconds}");
        }
        assert_eq!(
            fields(overlap(&json!({"overlap_seconds": "1"}))),
            ["overlap_seconds"]
        );
        assert_eq!(fields(overlap(&json!({"overlap": 5}))), ["overlap"]);
    }

    #[test]
    fn an_address_is_named_in_one_way() {
        let enable =
            |body: Value| parse_json::<EnableEndpoint>(body.to_string().as_bytes())?.validate("acme");
        let Ok(by_url) = enable(json!({"url": "https://acme.example/hook"})) else {
            panic!("the address is one");
        };
        assert_eq!(enable(json!({"id": by_url.to_string()})), Ok(by_url.clone()));
        for (body, field) in [
            (json!({}), "url"),
            (json!({"url": "hook"}), "url"),
            (
                json!({"url": format!("https://a.example/{}", "a".repeat(MAX_URL))}),
                "url",
            ),
            (json!({"id": "1"}), "id"),
            (
                json!({"url": "https://a.example/", "id": by_url.to_string()}),
                "id",
            ),
        ] {
            assert_eq!(fields(enable(body.clone())), [field], "{body}");
        }
    }

    #[test]
    fn a_page_is_read_and_each_wrong_parameter_is_named() {
        let cursor = Cursor(DeliveryId::new());
        let query = format!("outcome=refused_address&cursor={cursor}&limit=100");
        let expected = DeliveryQuery {
            outcome: Some(TryOutcome::RefusedAddress),
            cursor: Some(cursor),
            limit: 100,
        };
        assert_eq!(DeliveryQuery::parse(&query), Ok(expected));
        for (query, named) in [
            ("outcome=lost&limit=0", vec!["outcome", "limit"]),
            ("outcome=gone&outcome=gone", vec!["outcome"]),
            ("cursor=abc", vec!["cursor"]),
            ("state=dead", vec!["state"]),
        ] {
            assert_eq!(fields(DeliveryQuery::parse(query)), named, "{query}");
        }
        assert_eq!(EndpointQuery::parse("").map(|query| query.limit), Ok(50));
        assert_eq!(fields(EndpointQuery::parse("outcome=gone")), ["outcome"]);
    }
}
