//! Which entries of the audit log are asked for.

use flickrhub_job::audit::AuditEvent;
use flickrhub_job::store::AuditId;
use jiff::Timestamp;

use super::Findings;
use super::list::time;
use crate::cursor::Cursor;
use crate::problem::Problem;

/// Entries on a page when the caller names no number.
const DEFAULT_LIMIT: u32 = 100;
/// The most entries on a page.
const MAX_LIMIT: u32 = 1000;
/// The longest id of a client or a key.
const MAX_ID: usize = 256;

/// Which entries are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// Of this client only.
    pub client_id: Option<String>,
    /// Of this key only.
    pub key_id: Option<String>,
    /// Of this kind only.
    pub event: Option<AuditEvent>,
    /// From this time on.
    pub after: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Older than this entry only.
    pub cursor: Option<Cursor<AuditId>>,
    /// How many, 1 to 1000; `None`: a page, or in an export all.
    pub limit: Option<u32>,
}

impl AuditQuery {
    /// Reads the query part of the address.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming each parameter that is unknown, given twice or wrong.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut findings = Findings::default();
        let mut parsed = Self {
            client_id: None,
            key_id: None,
            event: None,
            after: None,
            before: None,
            cursor: None,
            limit: None,
        };
        let names = "client_id, key_id, event, after, before, cursor and limit";
        findings.each_parameter(query, names, |name, value, findings| {
            match name {
                "client_id" => parsed.client_id = findings.check(name, id(&value)),
                "key_id" => parsed.key_id = findings.check(name, id(&value)),
                "event" => parsed.event = findings.check(name, event(&value)),
                "after" => parsed.after = findings.check(name, time(&value)),
                "before" => parsed.before = findings.check(name, time(&value)),
                "cursor" => parsed.cursor = findings.check(name, value.parse::<Cursor<AuditId>>()),
                "limit" => parsed.limit = findings.check(name, limit(&value)),
                _ => return false,
            }
            true
        });
        if let (Some(after), Some(before)) = (parsed.after, parsed.before)
            && after >= before
        {
            findings.note("before", "is later than after");
        }
        findings.conclude(Some(parsed))
    }

    /// Entries on a page.
    pub fn page(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }
}

fn id(text: &str) -> Result<String, String> {
    if (1..=MAX_ID).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("has 1 to {MAX_ID} bytes"))
    }
}

fn event(text: &str) -> Result<AuditEvent, String> {
    AuditEvent::from_name(text).ok_or_else(|| {
        let names = AuditEvent::ALL.map(AuditEvent::name).join(", ");
        format!("is one of {names}")
    })
}

fn limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
        _ => Err(format!("is a number from 1 to {MAX_LIMIT}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong_fields(query: &str) -> Vec<String> {
        match AuditQuery::parse(query) {
            Err(Problem::InvalidRequest(errors)) => errors.into_iter().map(|error| error.field).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn everything_that_can_be_asked_for_is_read() {
        let query = AuditQuery::parse(
            "client_id=acme&key_id=k1&event=admin_action&after=2027-01-01T00:00:00Z&before=2027-01-02T00:00:00Z&limit=5",
        );
        let read = query.map(|query| (query.client_id, query.key_id, query.event, query.limit));
        let expected = (
            Some("acme".to_owned()),
            Some("k1".to_owned()),
            Some(AuditEvent::AdminAction),
            Some(5),
        );
        assert_eq!(read, Ok(expected));
        let page = AuditQuery::parse("").as_ref().map(AuditQuery::page).ok();
        assert_eq!(page, Some(100));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, fields) in [
            ("event=x&limit=0&cursor=a", vec!["event", "limit", "cursor"]),
            ("client_id=&page=1", vec!["client_id", "page"]),
            ("after=yesterday", vec!["after"]),
            (
                "after=2027-01-02T00:00:00Z&before=2027-01-01T00:00:00Z",
                vec!["before"],
            ),
        ] {
            assert_eq!(wrong_fields(query), fields, "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in ".{0,80}") {
            let _ = AuditQuery::parse(&query);
        }
    }
}
