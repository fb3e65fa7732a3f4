//! The text that is signed (RFC 9421 section 2.5).

use std::fmt::Write;

use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, header};
use sfv::{FieldType, InnerList, Item, List, ListEntry};

use super::SignatureFault;

/// The most components that a signature may cover.
const MAX_COMPONENTS: usize = 32;

/// The signature base of a request. `scheme`: that of the hub's public address, whose default port is left out of
/// `@authority` (section 2.2.3).
pub(super) fn base(parts: &Parts, scheme: &str, covered: &InnerList) -> Result<String, SignatureFault> {
    if covered.items.len() > MAX_COMPONENTS {
        return Err(SignatureFault::Component);
    }
    let mut names: Vec<&str> = Vec::new();
    let mut text = String::new();
    for item in &covered.items {
        let name = name_of(item).ok_or(SignatureFault::Component)?;
        if names.contains(&name) {
            return Err(SignatureFault::Component);
        }
        names.push(name);
        let value = value(parts, scheme, name).ok_or(SignatureFault::Component)?;
        // Writing into a string does not fail.
        let _ = writeln!(text, "\"{name}\": {value}");
    }
    let params: List = vec![ListEntry::InnerList(covered.clone())];
    let params = params.serialize().ok_or(SignatureFault::Malformed)?;
    let _ = write!(text, "\"@signature-params\": {params}");
    Ok(text)
}

/// The name of a component. One with parameters (`sf`, `key`, `bs`, `req`, `tr`, `name`) is another component, which the
/// hub does not know.
pub(super) fn name_of(item: &Item) -> Option<&str> {
    let name = item.bare_item.as_string()?.as_str();
    item.params.is_empty().then_some(name)
}

/// The value of a component: sections 2.1 and 2.2.
fn value(parts: &Parts, scheme: &str, name: &str) -> Option<String> {
    let target = parts.uri.path_and_query();
    match name {
        "@method" => Some(parts.method.as_str().to_owned()),
        "@authority" => authority(parts, scheme),
        "@path" => Some(match parts.uri.path() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        }),
        "@query" => Some(format!("?{}", parts.uri.query().unwrap_or_default())),
        "@request-target" => Some(target.map_or("/", PathAndQuery::as_str).to_owned()),
        name if name.starts_with('@') => None,
        name => field(parts, name),
    }
}

/// Section 2.2.3: in lower case, without the default port.
fn authority(parts: &Parts, scheme: &str) -> Option<String> {
    let host = parts.headers.get(header::HOST).map(|host| host.to_str().ok());
    let host = match host {
        Some(host) => host?.to_owned(),
        None => parts.uri.authority()?.as_str().to_owned(),
    };
    let host = host.trim().to_ascii_lowercase();
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    Some(host.strip_suffix(default_port).unwrap_or(&host).to_owned())
}

/// Section 2.1: every line of the field, without the space around it, joined by a comma and a space.
fn field(parts: &Parts, name: &str) -> Option<String> {
    // Names in a signature are in lower case; another case would be another component.
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let mut lines = Vec::new();
    for line in parts.headers.get_all(name) {
        lines.push(line.to_str().ok()?.trim());
    }
    (!lines.is_empty()).then(|| lines.join(", "))
}
