//! `/api/v1/audit`: the audit log.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flickrhub_job::audit::{AuditEntry, AuditEvent, SealedEntry};
use flickrhub_job::store::{AuditFilter, AuditId, AuditList};
use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{AuditRead, Authorised, Caller, ScopeName};
use crate::cursor::Cursor;
use crate::problem::{Problem, ProblemDocument};
use crate::state::AppState;
use crate::validate::AuditQuery;

/// One JSON object in a line (<https://github.com/ndjson/ndjson-spec>).
const JSON_LINES: &str = "application/x-ndjson";

/// An entry of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntryView {
    /// When it happened; an entry is about a request when its answer began.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What it is about.
    event: AuditEvent,
    /// The client, or the client of the key that the request claimed to be by.
    client_id: Option<String>,
    /// The key that the request was by, or claimed to be by.
    key_id: Option<String>,
    /// Where the request came from.
    #[schema(example = "192.0.2.1")]
    address: Option<String>,
    /// The HTTP method.
    #[schema(example = "POST")]
    method: Option<String>,
    /// The route, without what the client put into it.
    #[schema(example = "/api/v1/jobs/{id}")]
    route: Option<String>,
    /// The HTTP status that was answered; null: the client went away before.
    #[schema(example = 202)]
    status: Option<u16>,
    /// The code of the problem that was answered.
    code: Option<String>,
    /// The trace of the request.
    trace_id: Option<String>,
    /// What else there is to say.
    note: Option<String>,
    /// The chain that the entry is in.
    #[schema(value_type = String, format = Uuid)]
    chain: Uuid,
    /// Its number in the chain, from 0.
    seq: u64,
    /// The hash of the entry before it.
    previous: String,
    /// Its own hash.
    hash: String,
}

impl From<SealedEntry> for AuditEntryView {
    fn from(sealed: SealedEntry) -> Self {
        let AuditEntry {
            at,
            event,
            client_id,
            key_id,
            address,
            method,
            route,
            status,
            code,
            trace_id,
            note,
        } = sealed.entry;
        Self {
            at,
            event,
            client_id,
            key_id,
            address,
            method,
            route,
            status,
            code,
            trace_id,
            note,
            chain: sealed.chain,
            seq: sealed.seq,
            previous: sealed.previous,
            hash: sealed.hash,
        }
    }
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    entries: Vec<AuditEntryView>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<AuditList> for AuditPage {
    fn from(list: AuditList) -> Self {
        Self {
            next_cursor: list
                .entries
                .last()
                .filter(|_| list.more)
                .map(|last| Cursor(AuditId::of(last)).to_string()),
            entries: list.entries.into_iter().map(AuditEntryView::from).collect(),
        }
    }
}

/// Read the audit log
///
/// A client sees the entries that are about its own keys; one with the scope `admin` sees all, and those that are about no
/// client. With `Accept: application/x-ndjson` every entry that fits is sent, one JSON object in a line, without pages.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    tag = "audit",
    params(
        ("client_id" = Option<String>, Query, description = "Of this client only; another one than its own is seen by `admin` alone."),
        ("key_id" = Option<String>, Query, description = "Of this key only."),
        ("event" = Option<AuditEvent>, Query, description = "Of this kind only."),
        ("after" = Option<String>, Query, description = "From this time on (RFC 3339).", format = DateTime),
        ("before" = Option<String>, Query, description = "Before this time (RFC 3339).", format = DateTime),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Entries on a page, 100 without it; in an export all without it.", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, description = "The entries, newest first.", content(
            (AuditPage = "application/json"),
            (String = "application/x-ndjson"),
        )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["audit:read"]))
)]
pub async fn read_audit_log(
    caller: Authorised<AuditRead>,
    State(state): State<AppState>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = AuditQuery::parse(query.as_deref().unwrap_or_default())?;
    let (page, limit) = (query.page(), query.limit);
    let filter = filter(&caller, query)?;
    let store = &state.data()?.audit;
    if !wants_lines(&headers) {
        return Ok(Json(AuditPage::from(store.list(&filter, page).await?)).into_response());
    }
    // An export lasts as long as its reader needs, and holds a cursor of MongoDB meanwhile.
    let seat = state
        .streams
        .take(&caller.client_id)
        .ok_or(Problem::TooManyStreams)?;
    let most = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let entries = store.export(&filter).await?.take(most);
    let lines = entries.map(move |entry| {
        let _lasts_as_long_as_the_stream = &seat;
        let entry = entry.inspect_err(|error| tracing::warn!(%error, "an export of the audit log broke off"));
        let mut line = serde_json::to_vec(&AuditEntryView::from(entry?)).unwrap_or_default();
        line.push(b'\n');
        Ok::<Bytes, axum::BoxError>(line.into())
    });
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(JSON_LINES));
    Ok(([content_type], Body::from_stream(lines)).into_response())
}

/// The entries that the caller may see of those that it asks for.
fn filter(caller: &Caller, query: AuditQuery) -> Result<AuditFilter, Problem> {
    let is_admin = caller.may(ScopeName::Admin);
    if !is_admin
        && query
            .client_id
            .as_ref()
            .is_some_and(|asked| *asked != caller.client_id)
    {
        return Err(Problem::ScopeMissing(ScopeName::Admin));
    }
    Ok(AuditFilter {
        client_id: if is_admin {
            query.client_id
        } else {
            Some(caller.client_id.clone())
        },
        key_id: query.key_id,
        event: query.event,
        after: query.after,
        before: query.before,
        cursor: query.cursor.map(|cursor| cursor.0),
    })
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).into_iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case(JSON_LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(scope: ScopeName) -> Caller {
        Caller {
            client_id: "acme".to_owned(),
            key_id: "k1".to_owned(),
            scopes: vec![scope],
        }
    }

    fn of(scope: ScopeName, query: &str) -> Result<Option<String>, Problem> {
        filter(&caller(scope), AuditQuery::parse(query)?).map(|filter| filter.client_id)
    }

    #[test]
    fn a_client_sees_its_own_entries_and_an_administrator_all() {
        assert_eq!(of(ScopeName::AuditRead, ""), Ok(Some("acme".to_owned())));
        assert_eq!(
            of(ScopeName::AuditRead, "client_id=acme"),
            Ok(Some("acme".to_owned()))
        );
        let refused = Err(Problem::ScopeMissing(ScopeName::Admin));
        assert_eq!(of(ScopeName::AuditRead, "client_id=other"), refused);
        assert_eq!(of(ScopeName::Admin, ""), Ok(None));
        assert_eq!(
            of(ScopeName::Admin, "client_id=other"),
            Ok(Some("other".to_owned()))
        );
    }

    #[test]
    fn lines_are_sent_to_whoever_accepts_them_by_name() {
        for (accept, lines) in [
            ("application/x-ndjson", true),
            ("text/plain, Application/X-NDJSON;q=0.5", true),
            ("application/json", false),
            ("*/*", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wants_lines(&headers), lines, "{accept}");
        }
    }
}
