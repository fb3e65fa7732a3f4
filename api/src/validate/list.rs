//! The query of the list of jobs.

use flickrhub_flickr::Method;
use flickrhub_job::model::JobState;
use flickrhub_job::queue::Queue;
use jiff::Timestamp;

use super::Findings;
use super::user_id::user_id;
use crate::cursor::Cursor;
use crate::problem::Problem;

/// Jobs on a page when the client names no number.
pub(super) const DEFAULT_LIMIT: u32 = 50;
/// The most jobs on a page.
const MAX_LIMIT: u32 = 100;

/// Which jobs to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// In this state only.
    pub state: Option<JobState>,
    /// Of this queue only.
    pub queue: Option<Queue>,
    /// Of this method only; `upload` and `replace` are some too.
    pub method: Option<String>,
    /// Of this user only.
    pub user_id: Option<String>,
    /// Accepted at this time or later only.
    pub created_after: Option<Timestamp>,
    /// Accepted before this time only.
    pub created_before: Option<Timestamp>,
    /// Older than this job only.
    pub cursor: Option<Cursor>,
    /// How many, 1 to 100.
    pub limit: u32,
}

impl ListQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut parsed = Self {
            state: None,
            queue: None,
            method: None,
            user_id: None,
            created_after: None,
            created_before: None,
            cursor: None,
            limit: DEFAULT_LIMIT,
        };
        let names = "state, queue, method, user_id, created_after, created_before, cursor and limit";
        findings.each_parameter(query, names, |name, value, findings| {
            match name {
                "state" => parsed.state = findings.check(name, state(&value)),
                "queue" => parsed.queue = findings.check(name, queue(&value)),
                "method" => parsed.method = findings.check(name, method(value.into_owned())),
                "user_id" => parsed.user_id = findings.check(name, user_id(value.into_owned())),
                "created_after" => parsed.created_after = findings.check(name, time(&value)),
                "created_before" => parsed.created_before = findings.check(name, time(&value)),
                "cursor" => parsed.cursor = findings.check(name, value.parse::<Cursor>()),
                "limit" => parsed.limit = findings.check(name, limit(&value)).unwrap_or(DEFAULT_LIMIT),
                _ => return false,
            }
            true
        });
        if let (Some(after), Some(before)) = (parsed.created_after, parsed.created_before)
            && after >= before
        {
            findings.note("created_before", "is later than created_after");
        }
        findings.conclude(Some(parsed))
    }
}

fn state(text: &str) -> Result<JobState, String> {
    JobState::ALL
        .into_iter()
        .find(|state| state.name() == text)
        .ok_or_else(|| {
            let names = JobState::ALL.map(JobState::name).join(", ");
            format!("is one of {names}")
        })
}

pub(super) fn queue(text: &str) -> Result<Queue, &'static str> {
    text.parse().map_err(|_| "is one of rest, upload, replace")
}

/// Whatever a job can be of.
fn method(name: String) -> Result<String, &'static str> {
    if Queue::of_method(&name) != Queue::Rest || Method::lookup(&name).is_some() {
        Ok(name)
    } else {
        Err("is a method of Flickr, upload or replace")
    }
}

pub(super) fn limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(format!("is a number from 1 to {MAX_LIMIT}")),
    }
}

/// A time as RFC 3339 writes it.
pub(super) fn time(text: &str) -> Result<Timestamp, &'static str> {
    // In a query a plus that was not written %2B reads as a space, which is no offset.
    text.parse()
        .map_err(|_| "is a time as in RFC 3339, for example 2027-01-01T00:00:00Z")
}

#[cfg(test)]
mod tests {
    use flickrhub_job::model::JobId;

    use super::*;

    fn wrong_fields(query: &str) -> Vec<String> {
        ListQuery::parse(query).map_or_else(
            |problem| problem.errors().into_iter().map(|error| error.field).collect(),
            |_| Vec::new(),
        )
    }

    #[test]
    fn every_filter_is_read() {
        let cursor = Cursor(JobId::new());
        let query = format!(
            "state=dead&queue=rest&method=flickr.photos.search&user_id=12%40N01&cursor={cursor}&limit=100\
             &created_after=1970-01-01T01:00:00%2B01:00&created_before=1970-01-01T00:00:01Z"
        );
        assert_eq!(
            ListQuery::parse(&query),
            Ok(ListQuery {
                state: Some(JobState::Dead),
                queue: Some(Queue::Rest),
                method: Some("flickr.photos.search".to_owned()),
                user_id: Some("12@N01".to_owned()),
                created_after: Some(Timestamp::UNIX_EPOCH),
                created_before: Some(Timestamp::constant(1, 0)),
                cursor: Some(cursor),
                limit: 100,
            })
        );
        assert_eq!(ListQuery::parse("").map(|query| query.limit), Ok(DEFAULT_LIMIT));
        for method in ["upload", "replace", "flickr.photos.getInfo"] {
            let query = ListQuery::parse(&format!("method={method}"));
            assert_eq!(query.map(|query| query.method), Ok(Some(method.to_owned())));
        }
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        for (query, fields) in [
            ("state=done", vec!["state"]),
            ("queue=x&limit=0", vec!["queue", "limit"]),
            ("limit=101", vec!["limit"]),
            ("limit=-1", vec!["limit"]),
            ("limit=ten", vec!["limit"]),
            ("cursor=abc", vec!["cursor"]),
            ("user_id=me", vec!["user_id"]),
            ("method=photos.search", vec!["method"]),
            ("method=rest", vec!["method"]),
            ("method=", vec!["method"]),
            ("page=2", vec!["page"]),
            ("created_after=yesterday", vec!["created_after"]),
            ("created_before=2027-01-01", vec!["created_before"]),
            ("created_after=2027-01-01T00:00:00+01:00", vec!["created_after"]),
            (
                "created_after=2027-01-01T00:00:00Z&created_before=2027-01-01T00:00:00Z",
                vec!["created_before"],
            ),
            ("limit=5&limit=6", vec!["limit"]),
        ] {
            assert_eq!(wrong_fields(query), fields, "{query}");
        }
    }
}
