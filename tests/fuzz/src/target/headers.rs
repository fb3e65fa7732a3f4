//! Headers that anybody may send with any request: `X-Forwarded-For`, `Prefer`, `traceparent`, `X-Trace-Id`.
//!
//! Lines of the input, in this order.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use flickrhub_api::{address, prefer};
use flickrhub_job::model::TraceContext;

use super::request::parts;
use super::texts;

pub(crate) fn run(input: &[u8]) {
    let [forwarded, wanted, traceparent, trace_id] = texts(input);
    let trace = TraceContext::from_headers(Some(&traceparent), Some(&trace_id));
    let is_hexadecimal = trace.trace_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(
        trace.trace_id.len() == 32 && is_hexadecimal,
        "{:?} gets into logs",
        trace.trace_id
    );
    assert!(trace.traceparent.len() < 60 && trace.child().traceparent.is_ascii());

    let headers: [(&str, &[u8]); 2] = [
        ("x-forwarded-for", forwarded.as_bytes()),
        ("prefer", wanted.as_bytes()),
    ];
    let Some(parts) = parts("GET", "/", &headers) else {
        return;
    };
    if let Some(wait) = prefer::wait(&parts.headers) {
        assert!(wait <= Duration::from_hours(1), "{wait:?}");
    }
    let peer = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let believed = address::client_address(peer, &parts.headers, &[]);
    assert_eq!(believed, peer, "the header of a stranger is believed");
    let _ = address::network_of(believed);
}
