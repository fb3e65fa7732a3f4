//! The query of the list of dead letters, and the body of their replay in bulk.

use flickrhub_job::model::JobId;
use flickrhub_job::queue::Queue;
use flickrhub_job::store::DeadLetterFilter;
use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Findings;
use super::list::{DEFAULT_LIMIT, limit, queue, time};
use super::user_id::user_id;
use crate::cursor::Cursor;
use crate::problem::Problem;

/// Dead letters that a bulk replays when the client names no number.
const DEFAULT_BULK: usize = 100;
/// The most dead letters that one bulk replays, and the most ids that it names.
const MAX_BULK: usize = 1000;
/// The longest code of an error, in bytes.
const MAX_CODE: usize = 64;

/// Which dead letters to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLettersQuery {
    /// Of this queue only.
    pub queue: Option<Queue>,
    /// Of this user only.
    pub user_id: Option<String>,
    /// With this error only.
    pub code: Option<String>,
    /// Older than this job only.
    pub cursor: Option<Cursor>,
    /// How many, 1 to 100.
    pub limit: usize,
}

impl DeadLettersQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut parsed = Self {
            queue: None,
            user_id: None,
            code: None,
            cursor: None,
            limit: DEFAULT_LIMIT as usize,
        };
        let names = "queue, user_id, code, cursor and limit";
        findings.each_parameter(query, names, |name, value, findings| {
            match name {
                "queue" => parsed.queue = findings.check(name, queue(&value)),
                "user_id" => parsed.user_id = findings.check(name, user_id(value.into_owned())),
                "code" => parsed.code = findings.check(name, code(value.into_owned())),
                "cursor" => parsed.cursor = findings.check(name, value.parse::<Cursor>()),
                "limit" => {
                    parsed.limit = findings.check(name, limit(&value)).unwrap_or(DEFAULT_LIMIT) as usize;
                }
                _ => return false,
            }
            true
        });
        findings.conclude(Some(parsed))
    }
}

/// Which dead letters to replay. Those that match every member are; an empty object matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields, expecting = "a JSON object")]
pub struct BulkReplay {
    /// Of this queue only; the short names do too.
    #[schema(example = "flickr_rest")]
    pub queue: Option<String>,
    /// Of this user (NSID) only.
    #[schema(example = "12037949754@N01")]
    pub user_id: Option<String>,
    /// With this `error.code` only.
    #[schema(example = "flickr_unavailable")]
    pub code: Option<String>,
    /// These jobs only, at most 1000.
    #[schema(max_items = 1000)]
    pub ids: Option<Vec<String>>,
    /// Those that died before this time only (RFC 3339).
    #[schema(format = DateTime)]
    pub before: Option<String>,
    /// How many at most, 100 without it.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<u64>,
}

impl BulkReplay {
    /// The filter for the dead letters of a client, and how many to replay.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each member that is wrong.
    pub fn validate(self, client_id: &str) -> Result<(DeadLetterFilter, usize), Problem> {
        let mut findings = Findings::default();
        let ids = self.ids.map(|ids| job_ids(&ids, &mut findings));
        let named = ids.as_ref().map(Vec::len);
        let limit = match self.limit {
            None => named.unwrap_or(DEFAULT_BULK),
            Some(limit) => match usize::try_from(limit) {
                Ok(limit) if (1..=MAX_BULK).contains(&limit) => limit,
                _ => {
                    findings.note("limit", format!("is a number from 1 to {MAX_BULK}"));
                    DEFAULT_BULK
                }
            },
        };
        let filter = DeadLetterFilter {
            client_id: client_id.to_owned(),
            queue: self.queue.and_then(|text| findings.check("queue", queue(&text))),
            user_id: self
                .user_id
                .and_then(|text| findings.check("user_id", user_id(text))),
            code: self.code.and_then(|text| findings.check("code", code(text))),
            dead_before: self
                .before
                .and_then(|text| findings.check::<Timestamp, _>("before", time(&text))),
            ids: ids.unwrap_or_default(),
        };
        findings.conclude(Some((filter, limit)))
    }
}

/// The ids, each once.
fn job_ids(texts: &[String], findings: &mut Findings) -> Vec<JobId> {
    if texts.is_empty() || texts.len() > MAX_BULK {
        findings.note("ids", format!("are 1 to {MAX_BULK} job ids"));
        return Vec::new();
    }
    let mut ids = Vec::with_capacity(texts.len());
    for (n, text) in texts.iter().enumerate() {
        if let Some(id) = findings.check(
            &format!("ids[{n}]"),
            text.parse::<JobId>().map_err(|_| "is a job id"),
        ) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn code(text: String) -> Result<String, &'static str> {
    let is_code = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !text.is_empty() && text.len() <= MAX_CODE && text.bytes().all(is_code) {
        Ok(text)
    } else {
        Err("is the code of an error, for example flickr_unavailable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields<T>(result: Result<T, Problem>) -> Vec<String> {
        result.err().map_or_else(Vec::new, |problem| {
            problem.errors().into_iter().map(|error| error.field).collect()
        })
    }

    #[test]
    fn every_parameter_is_read() {
        let cursor = Cursor(JobId::new());
        let query = format!("queue=upload&user_id=12%40N01&code=timeout&cursor={cursor}&limit=7");
        assert_eq!(
            DeadLettersQuery::parse(&query),
            Ok(DeadLettersQuery {
                queue: Some(Queue::Upload),
                user_id: Some("12@N01".to_owned()),
                code: Some("timeout".to_owned()),
                cursor: Some(cursor),
                limit: 7,
            })
        );
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        for (query, wrong) in [
            (
                "queue=x&user_id=me&code=A&cursor=1&limit=0",
                vec!["queue", "user_id", "code", "cursor", "limit"],
            ),
            ("state=dead", vec!["state"]),
            ("code=a&code=b", vec!["code"]),
            ("code=", vec!["code"]),
        ] {
            assert_eq!(fields(DeadLettersQuery::parse(query)), wrong, "{query}");
        }
    }

    #[test]
    fn an_empty_bulk_is_of_all_up_to_a_number() {
        let (filter, limit) = BulkReplay::default().validate("acme").unwrap_or_default();
        assert_eq!((filter.client_id.as_str(), limit), ("acme", DEFAULT_BULK));
        assert!(filter.ids.is_empty());
    }

    #[test]
    fn named_jobs_count_once_and_all_of_them() {
        let id = JobId::new().to_string();
        let bulk = BulkReplay {
            ids: Some(vec![id.clone(), id]),
            ..BulkReplay::default()
        };
        let (filter, limit) = bulk.validate("acme").unwrap_or_default();
        assert_eq!((filter.ids.len(), limit), (1, 1));
    }

    #[test]
    fn each_wrong_member_is_named() {
        let bulk = BulkReplay {
            queue: Some("x".to_owned()),
            user_id: Some(String::new()),
            code: Some("no such code".to_owned()),
            ids: Some(vec![JobId::new().to_string(), "7".to_owned()]),
            before: Some("yesterday".to_owned()),
            limit: Some(1001),
        };
        let wrong = ["ids[1]", "limit", "queue", "user_id", "code", "before"];
        assert_eq!(fields(bulk.validate("acme")), wrong);
        for ids in [Vec::new(), vec![JobId::new().to_string(); 1001]] {
            let bulk = BulkReplay {
                ids: Some(ids),
                ..BulkReplay::default()
            };
            assert_eq!(fields(bulk.validate("acme")), ["ids"]);
        }
    }
}
