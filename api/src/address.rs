//! The address that a request comes from: for allowlists, limits and the audit log.
//!
//! The peer of the connection, unless that is a proxy of ours (`api.trustedProxies`): then the last address in
//! `X-Forwarded-For` that no proxy of ours has. What stands before that address was written by whoever sent it, and is not
//! believed; without trusted proxies the header is not read at all.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Each proxy adds the address that it was called from.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The most proxies that are looked through.
const MAX_HOPS: usize = 16;

/// The peer of the connection, as an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Where the request comes from, as an extension of the request. Absent where it came over no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// Finds out where the request comes from, and notes it in its extensions.
pub fn note(request: &mut Request, trusted: &[IpNet]) {
    if let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() {
        let address = client_address(peer, request.headers(), trusted);
        request.extensions_mut().insert(ClientAddress(address));
    }
}

/// Where a request with these headers comes from that `peer` sent.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_ours = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut address = peer.to_canonical();
    if !is_ours(&address) {
        return address;
    }
    let values = headers.get_all(X_FORWARDED_FOR).into_iter().collect::<Vec<_>>();
    let hops = values
        .iter()
        .rev()
        .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','))
        .take(MAX_HOPS);
    for hop in hops {
        // What cannot be read hides the rest: the proxy that wrote it stands for its callers.
        let Some(next) = parse(hop.trim()) else {
            return address;
        };
        address = next;
        if !is_ours(&address) {
            return address;
        }
    }
    address
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn parse(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().as_ref().map(SocketAddr::ip).ok();
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address
        .or_else(with_port)
        .or_else(in_brackets)
        .as_ref()
        .map(IpAddr::to_canonical)
}

/// The network that stands for one caller where callers are counted: one who has an IPv6 address has all of its /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn found(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(value).ok()?);
        }
        let trusted: Vec<IpNet> = trusted
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect();
        Some(client_address(peer.parse().ok()?, &headers, &trusted).to_string())
    }

    #[test]
    fn the_header_is_believed_only_from_a_proxy_of_ours() {
        let proxies = ["10.0.0.0/8"];
        for (peer, forwarded, address) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // The first was sent by the caller, who may write what it likes.
            ("10.0.0.1", &["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1",
                &["127.0.0.1", "198.51.100.7, 10.2.2.2"],
                "198.51.100.7",
            ),
            ("10.0.0.1", &["10.9.9.9, 10.2.2.2"], "10.9.9.9"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["2001:db8::7"], "2001:db8::7"),
        ] {
            assert_eq!(
                found(peer, forwarded, &proxies).as_deref(),
                Some(address),
                "{peer} {forwarded:?}"
            );
        }
        assert_eq!(
            found("10.0.0.1", &["198.51.100.7"], &[]).as_deref(),
            Some("10.0.0.1")
        );
    }

    #[test]
    fn one_caller_is_one_address_or_one_network() {
        let network = |text: &str| {
            text.parse()
                .map(network_of)
                .as_ref()
                .map(ToString::to_string)
                .ok()
        };
        assert_eq!(network("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
    }

    proptest! {
        #[test]
        fn nobody_outside_becomes_another(header in "[ -~]{0,80}") {
            let found = found("192.0.2.1", &[&header], &["10.0.0.0/8"]);
            prop_assert_eq!(found.as_deref(), Some("192.0.2.1"));
        }
    }
}
