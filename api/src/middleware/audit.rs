//! Notes each request to `/api/` in the audit log, when its answer begins; what security rests on most, before it does.

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use flickrhub_job::audit::{AuditEntry, AuditEvent};
use flickrhub_job::model::TraceContext;
use flickrhub_job::store::time;

use super::problem::ProblemCode;
use crate::address::ClientAddress;
use crate::audit::{Answer, AuditLog, event_of};
use crate::auth::AuthRecord;
use crate::state::AppState;

/// What a request whose client went away before the answer has for the code of a problem.
const CLIENT_GONE: &str = "client_gone";

/// Notes the request.
pub async fn audit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let Some(route) = extensions
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned())
    else {
        return next.run(request).await;
    };
    let mut open = Open {
        log: state.audit.clone(),
        method: request.method().clone(),
        route,
        record: extensions.get::<AuthRecord>().cloned().unwrap_or_default(),
        address: extensions.get::<ClientAddress>().copied(),
        trace_id: extensions
            .get::<TraceContext>()
            .map(|trace| trace.trace_id.clone()),
        waits: true,
    };
    let response = next.run(request).await;
    let code = response.extensions().get::<ProblemCode>().map(|code| code.0);
    if let Some((entry, address, is_known)) = open.close(Some(response.status().as_u16()), code) {
        if entry.event == AuditEvent::ApiCall {
            state.audit.record(entry, address, is_known);
        } else {
            state.audit.write(entry, address, is_known).await;
        }
    }
    response
}

/// A request without an answer yet. It is dropped without one when its client goes away.
struct Open {
    log: AuditLog,
    method: Method,
    route: String,
    record: AuthRecord,
    address: Option<ClientAddress>,
    trace_id: Option<String>,
    waits: bool,
}

impl Open {
    /// The entry, where the request came from, and whether its sender proved who it is; `None`: it is no part of the log.
    fn close(
        &mut self,
        status: Option<u16>,
        code: Option<&str>,
    ) -> Option<(AuditEntry, Option<IpAddr>, bool)> {
        self.waits = false;
        let answer = Answer {
            method: &self.method,
            route: &self.route,
            code,
        };
        let event = event_of(answer)?;
        let address = self.address.map(|address| address.0);
        let entry = AuditEntry {
            at: time::now(),
            event,
            client_id: self.record.client_id().map(str::to_owned),
            key_id: self.record.key_id().map(str::to_owned),
            address: address.as_ref().map(ToString::to_string),
            method: Some(self.method.as_str().chars().take(16).collect()),
            route: Some(std::mem::take(&mut self.route)),
            status,
            code: code.map(str::to_owned),
            trace_id: self.trace_id.take(),
            note: None,
        };
        Some((entry, address, self.record.caller().is_some()))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.waits
            && let Some((entry, address, is_known)) = self.close(None, Some(CLIENT_GONE))
        {
            self.log.record(entry, address, is_known);
        }
    }
}
