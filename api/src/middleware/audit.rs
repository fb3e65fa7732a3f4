//! Notes each request to `/api/` in the audit log, when its answer begins.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use flickrhub_job::audit::AuditEntry;
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
    open.close(Some(response.status().as_u16()), code);
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
    fn close(&mut self, status: Option<u16>, code: Option<&str>) {
        self.waits = false;
        let answer = Answer {
            method: &self.method,
            route: &self.route,
            code,
        };
        let Some(event) = event_of(answer) else {
            return;
        };
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
        self.log.record(entry, address, self.record.caller().is_some());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.waits {
            self.close(None, Some(CLIENT_GONE));
        }
    }
}
