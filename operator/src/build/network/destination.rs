//! Where the host of a configured URL is, as far as a NetworkPolicy can tell: it knows addresses and labels, no names.

use std::net::IpAddr;

use url::{Host, Url};

use crate::names::HubNames;

/// Where a host is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    /// At this address.
    Address(IpAddr),
    /// A Service in this namespace of the cluster.
    Namespace(String),
    /// Somewhere else: a name that may resolve to any address.
    Elsewhere,
}

impl Destination {
    /// Where the host of `url` is. A name in the cluster is one without dots, which is of the hub's own namespace, or one
    /// that ends with `.svc` or with that and the cluster's domain.
    pub(super) fn of(url: &Url, names: &HubNames) -> Self {
        match url.host() {
            Some(Host::Ipv4(address)) => Self::Address(address.into()),
            Some(Host::Ipv6(address)) => Self::Address(address.into()),
            Some(Host::Domain(name)) => match names.namespace_of_service(name) {
                Some(namespace) => Self::Namespace(namespace.to_owned()),
                None => Self::Elsewhere,
            },
            None => Self::Elsewhere,
        }
    }
}

/// The port of an http or https URL.
pub(super) fn port(url: &Url) -> u16 {
    // Validated URLs are http or https, which have a known port.
    url.port_or_known_default().unwrap_or(443)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(url: &str) -> Option<Destination> {
        let names = HubNames::new("gallery", "photos", "cluster.local");
        Url::parse(url).ok().map(|url| Destination::of(&url, &names))
    }

    #[test]
    fn names_of_services_are_in_the_cluster_and_others_are_not() {
        let namespace = |name: &str| Some(Destination::Namespace(name.to_owned()));
        for (url, expected) in [
            ("http://mock:8080/rest", namespace("photos")),
            ("http://mock.test.svc:8080/rest", namespace("test")),
            ("http://mock.test.svc.cluster.local/", namespace("test")),
            ("http://mock-0.mock.test.svc.cluster.local./", namespace("test")),
            ("https://api.flickr.com/", Some(Destination::Elsewhere)),
            ("https://vault.svc/", Some(Destination::Elsewhere)),
            ("https://mock.test.svc.example.org/", Some(Destination::Elsewhere)),
            (
                "https://10.1.2.3/",
                "10.1.2.3".parse().ok().map(Destination::Address),
            ),
            (
                "https://[fd00::1]/",
                "fd00::1".parse().ok().map(Destination::Address),
            ),
        ] {
            assert_eq!(destination(url), expected, "{url}");
        }
    }

    #[test]
    fn a_port_is_the_one_that_is_written_or_that_of_the_scheme() {
        let port = |url: &str| Url::parse(url).ok().map(|url| port(&url));
        assert_eq!(port("https://api.flickr.com/"), Some(443));
        assert_eq!(port("http://mock/"), Some(80));
        assert_eq!(port("https://vault:8200/"), Some(8200));
    }
}
