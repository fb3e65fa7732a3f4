//! Addresses in the configuration, `host:port`.

use super::ConnectError;

/// Splits an address; a host that is an IPv6 address stands in brackets (RFC 3986 section 3.2.2).
pub(super) fn host_and_port(service: &'static str, text: &str) -> Result<(String, u16), ConnectError> {
    text.rsplit_once(':')
        .and_then(|(host, port)| {
            let host = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host);
            Some((host.to_owned(), port.parse().ok()?))
        })
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| ConnectError::Address {
            service,
            address: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port() {
        for (text, host) in [
            (
                "gallery-redis-0.gallery-redis:6379",
                "gallery-redis-0.gallery-redis",
            ),
            ("127.0.0.1:6379", "127.0.0.1"),
            ("[::1]:6379", "::1"),
        ] {
            assert_eq!(
                host_and_port("Redis", text).ok(),
                Some((host.to_owned(), 6379)),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "gallery-redis",
            ":6379",
            "gallery-redis:",
            "gallery-redis:redis",
            "gallery-redis:65536",
            "",
        ] {
            assert!(host_and_port("Redis", text).is_err(), "{text}");
        }
    }
}
