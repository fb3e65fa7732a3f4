//! Trace context by W3C Trace Context, level 1 (<https://www.w3.org/TR/trace-context-1/>).
//!
//! A request belongs to the trace that its `traceparent` names, else to the one that `X-Trace-Id` names, else to a new
//! one. A header that is not valid is as if it were not there.

use std::fmt::Write;

pub use crate::model::TraceContext;

/// Hexadecimal digits of a trace id and of a span id (sections 3.2.2.3 and 3.2.2.4).
const TRACE_DIGITS: usize = 32;
const SPAN_DIGITS: usize = 16;
/// The only flag that version 00 knows (section 3.2.2.5.1). The other bits say nothing and are not passed on: a vendor
/// "MUST set those to zero" (section 3.2.2.5.2).
const SAMPLED: u8 = 0x01;

impl TraceContext {
    /// A new trace.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "two calls give two traces; a default would hide that"
    )]
    pub fn new() -> Self {
        Self::assemble(&random_id(TRACE_DIGITS), SAMPLED)
    }

    /// The trace of a request, with a span of its own.
    #[must_use]
    pub fn from_headers(traceparent: Option<&str>, x_trace_id: Option<&str>) -> Self {
        if let Some(parent) = traceparent.and_then(parse) {
            return Self::assemble(parent.trace_id, parent.flags);
        }
        match x_trace_id.map(str::to_ascii_lowercase) {
            Some(id) if is_id(&id, TRACE_DIGITS) => Self::assemble(&id, SAMPLED),
            _ => Self::new(),
        }
    }

    /// The same trace with a new span: for a call to another service.
    #[must_use]
    pub fn child(&self) -> Self {
        let flags = parse(&self.traceparent).map_or(SAMPLED, |parent| parent.flags);
        Self::assemble(&self.trace_id, flags)
    }

    fn assemble(trace_id: &str, flags: u8) -> Self {
        Self {
            trace_id: trace_id.to_owned(),
            traceparent: format!("00-{trace_id}-{}-{:02x}", random_id(SPAN_DIGITS), flags & SAMPLED),
        }
    }
}

/// The parts of a `traceparent` that go on to the next one.
struct Parent<'a> {
    trace_id: &'a str,
    flags: u8,
}

/// Reads a `traceparent` (section 3.2). A later version may have more parts behind those of version 00; `ff` is not a
/// version.
fn parse(traceparent: &str) -> Option<Parent<'_>> {
    let mut parts = traceparent.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version_is_valid = is_hexadecimal(version, 2) && version != "ff";
    let length_is_valid = version != "00" || parts.next().is_none();
    let ids_are_valid = is_id(trace_id, TRACE_DIGITS) && is_id(span_id, SPAN_DIGITS);
    if !(version_is_valid && length_is_valid && ids_are_valid && is_hexadecimal(flags, 2)) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Parent { trace_id, flags })
}

/// Whether the text is an id: lower-case hexadecimal digits, not all zero.
fn is_id(text: &str, digits: usize) -> bool {
    is_hexadecimal(text, digits) && text.bytes().any(|byte| byte != b'0')
}

fn is_hexadecimal(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_id(digits: usize) -> String {
    loop {
        let mut id = String::with_capacity(digits);
        for byte in rand::random_iter::<u8>().take(digits / 2) {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        if is_id(&id, digits) {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_request_joins_the_trace_of_its_caller_with_a_span_of_its_own() {
        let trace = TraceContext::from_headers(Some(PARENT), Some("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(trace.trace_id, TRACE_ID);
        assert!(
            trace
                .traceparent
                .starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-")
        );
        assert_ne!(trace.traceparent, PARENT);
    }

    #[test]
    fn a_caller_that_does_not_sample_is_followed() {
        let parent = PARENT.replace("-01", "-00");
        let trace = TraceContext::from_headers(Some(&parent), None);
        assert!(trace.traceparent.ends_with("-00"));
        assert!(trace.child().traceparent.ends_with("-00"));
    }

    #[test]
    fn of_the_flags_only_the_sampled_one_is_understood_and_passed_on() {
        for (flags, passed_on) in [
            ("00", "00"),
            ("01", "01"),
            ("02", "00"),
            ("03", "01"),
            ("fe", "00"),
            ("ff", "01"),
        ] {
            let parent = PARENT.replace("-01", &format!("-{flags}"));
            let trace = TraceContext::from_headers(Some(&parent), None);
            assert_eq!(trace.trace_id, TRACE_ID, "{flags}");
            assert_eq!(trace.traceparent.rsplit('-').next(), Some(passed_on), "{flags}");
        }
    }

    #[test]
    fn a_traceparent_that_is_not_valid_starts_a_new_trace() {
        for parent in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_ne!(
                TraceContext::from_headers(Some(parent), None).trace_id,
                TRACE_ID,
                "{parent}"
            );
        }
    }

    #[test]
    fn a_later_version_may_have_more_parts() {
        let parent = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert_eq!(TraceContext::from_headers(Some(parent), None).trace_id, TRACE_ID);
    }

    #[test]
    fn a_trace_id_of_the_client_is_taken_when_it_is_one() {
        let trace_id = |header: &str| TraceContext::from_headers(None, Some(header)).trace_id;
        assert_eq!(trace_id(TRACE_ID), TRACE_ID);
        assert_eq!(trace_id(&TRACE_ID.to_uppercase()), TRACE_ID);
        for header in [
            "",
            "my-trace",
            "00000000000000000000000000000000",
            "4bf92f3577b34da6a3ce929d0e0e473\n",
        ] {
            assert_ne!(trace_id(header), header);
        }
    }

    #[test]
    fn a_child_keeps_the_trace_and_changes_the_span() {
        let trace = TraceContext::new();
        let child = trace.child();
        assert_eq!(child.trace_id, trace.trace_id);
        assert_ne!(child.traceparent, trace.traceparent);
    }

    proptest! {
        #[test]
        fn whatever_the_headers_say_the_trace_is_valid(parent in ".{0,80}", id in ".{0,40}") {
            let trace = TraceContext::from_headers(Some(&parent), Some(&id));
            prop_assert!(is_id(&trace.trace_id, TRACE_DIGITS));
            let parsed = parse(&trace.traceparent).map(|parent| parent.trace_id.to_owned());
            prop_assert_eq!(parsed, Some(trace.trace_id));
        }

        #[test]
        fn a_traceparent_of_ours_is_understood(trace_id in "[0-9a-f]{31}[1-9a-f]", span in "[0-9a-f]{15}[1-9a-f]") {
            let parent = format!("00-{trace_id}-{span}-01");
            prop_assert_eq!(TraceContext::from_headers(Some(&parent), None).trace_id, trace_id);
        }
    }
}
