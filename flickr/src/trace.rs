//! Trace context that travels with a request.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// The `traceparent` (W3C Trace Context) and `X-Trace-Id` headers of one request.
///
/// Values that cannot stand in a header are dropped: tracing must never fail a call.
#[derive(Debug, Clone, Default)]
pub struct TraceHeaders {
    traceparent: Option<HeaderValue>,
    trace_id: Option<HeaderValue>,
}

impl TraceHeaders {
    /// Headers from their values.
    pub fn new(traceparent: Option<&str>, trace_id: Option<&str>) -> Self {
        let header = |value: Option<&str>| value.and_then(|text| HeaderValue::from_str(text).ok());
        Self {
            traceparent: header(traceparent),
            trace_id: header(trace_id),
        }
    }

    /// No trace context.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn insert_into(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.traceparent {
            headers.insert(TRACEPARENT, value.clone());
        }
        if let Some(value) = &self.trace_id {
            headers.insert(TRACE_ID, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_stand_in_a_header_are_dropped() {
        let mut headers = HeaderMap::new();
        TraceHeaders::new(Some("00-ab-cd-01"), Some("bad\r\nvalue")).insert_into(&mut headers);
        assert_eq!(
            headers.get(TRACEPARENT),
            Some(&HeaderValue::from_static("00-ab-cd-01"))
        );
        assert!(!headers.contains_key(TRACE_ID));
    }
}
