//! What an answer means for the audit log.

use axum::http::Method;
use flickrhub_job::audit::AuditEvent;

/// What was answered to a request.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The HTTP method.
    pub method: &'a Method,
    /// The route's template.
    pub route: &'a str,
    /// The code of the problem, if it was one.
    pub code: Option<&'a str>,
}

/// What changes who may do what, or reads the audit log.
const ADMIN_ROUTES: [(Method, &str); 7] = [
    (Method::GET, "/api/v1/audit"),
    (Method::POST, "/api/v1/oauth/start"),
    (Method::GET, "/api/v1/oauth/callback"),
    (Method::DELETE, "/api/v1/users/{user_id}/token"),
    (Method::POST, "/api/v1/callbacks/secret/rotate"),
    (Method::POST, "/api/v1/callbacks/endpoints/enable"),
    (Method::POST, "/api/v1/cache/invalidate"),
];

/// The event, or `None` for what is no part of the log: probes, documents, paths that are none.
pub fn event_of(answer: Answer<'_>) -> Option<AuditEvent> {
    if !answer.route.starts_with("/api/") {
        return None;
    }
    Some(match answer.code {
        Some("unauthenticated" | "signature_refused" | "too_many_failed_authentications") => {
            AuditEvent::AuthenticationFailed
        }
        Some(
            "scope_missing"
            | "address_not_allowed"
            | "unknown_user"
            | "user_not_found"
            | "permission_insufficient",
        ) => AuditEvent::AuthorisationFailed,
        _ if ADMIN_ROUTES.contains(&(answer.method.clone(), answer.route)) => AuditEvent::AdminAction,
        _ => AuditEvent::ApiCall,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi;
    use crate::problem::KINDS;

    fn event(method: &Method, route: &str, code: Option<&str>) -> Option<AuditEvent> {
        event_of(Answer { method, route, code })
    }

    #[test]
    fn failures_come_before_what_was_asked_for() {
        let rotate = "/api/v1/callbacks/secret/rotate";
        let post = Method::POST;
        assert_eq!(event(&post, rotate, None), Some(AuditEvent::AdminAction));
        assert_eq!(
            event(&post, rotate, Some("unauthenticated")),
            Some(AuditEvent::AuthenticationFailed)
        );
        assert_eq!(
            event(&post, rotate, Some("scope_missing")),
            Some(AuditEvent::AuthorisationFailed)
        );
        assert_eq!(
            event(&post, rotate, Some("invalid_request")),
            Some(AuditEvent::AdminAction)
        );
        assert_eq!(event(&post, "/api/v1/jobs", None), Some(AuditEvent::ApiCall));
        assert_eq!(event(&Method::GET, "/healthz", None), None);
        assert_eq!(event(&Method::GET, "none", None), None);
    }

    #[test]
    fn every_answer_of_401_is_a_failed_authentication_and_every_403_of_ours_a_failed_authorisation() {
        for kind in KINDS {
            let event = event(&Method::GET, "/api/v1/jobs", Some(kind.code));
            if kind.status == axum::http::StatusCode::UNAUTHORIZED {
                assert_eq!(event, Some(AuditEvent::AuthenticationFailed), "{}", kind.code);
            }
            // Flickr's own refusal is none of ours.
            if kind.status == axum::http::StatusCode::FORBIDDEN && kind.code != "authorisation_refused" {
                assert_eq!(event, Some(AuditEvent::AuthorisationFailed), "{}", kind.code);
            }
        }
    }

    #[test]
    fn every_admin_route_exists() {
        let document = serde_json::to_value(openapi::document()).unwrap_or_default();
        for (method, route) in ADMIN_ROUTES {
            let method = method.as_str().to_lowercase();
            assert!(document["paths"][route][&method].is_object(), "{method} {route}");
        }
    }
}
