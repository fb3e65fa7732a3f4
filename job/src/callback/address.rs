//! Where callbacks may go.
//!
//! A client names the address, and the delivery runs inside the cluster: without a limit a client could reach what
//! only the cluster can. Only global unicast addresses are permitted, and those in networks that the configuration
//! lists. The check of a URL that a client hands in catches what can be seen without resolving; the delivery checks
//! every address after resolving, so a name that resolves to something else later gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// A callback address is refused. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackUrlError {
    /// Neither https nor http.
    #[error("a callback address begins with https://")]
    Scheme,
    /// Plain http, and no network is listed into which it could go.
    #[error("a callback address begins with https://; plain http is not allowed here")]
    PlainHttp,
    /// It holds a user name or a password, which would end up in logs.
    #[error("a callback address must not hold a user name or a password")]
    Credentials,
    /// It names no host.
    #[error("a callback address needs a host")]
    NoHost,
    /// The host is an address that is not public.
    #[error("a callback must go to a public address")]
    NotPublic,
}

/// IPv4 addresses that are not global unicast (IANA IPv4 Special-Purpose Address Registry), or lead to a cloud's own
/// services all the same.
const REFUSED_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // shared by carrier-grade NAT; some clouds keep their metadata service here
    v4(127, 0, 0, 0, 8),      // loopback
    v4(169, 254, 0, 0, 16),   // link-local; most clouds keep their metadata service here
    v4(168, 63, 129, 16, 32), // a public address by which Azure's machines reach their host
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 88, 99, 0, 24),   // 6to4 relays, deprecated
    v4(192, 168, 0, 0, 16),   // private
    v4(198, 18, 0, 0, 15),    // benchmarks
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, and broadcast
];

/// The only IPv6 range from which global unicast addresses are given out (RFC 4291 section 2.4, IANA).
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);

/// Ranges of [`GLOBAL_V6`] that are not global unicast (IANA IPv6 Special-Purpose Address Registry).
const REFUSED_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0], 23),     // protocol assignments, among them Teredo and ORCHID
    v6([0x2001, 0xdb8], 32), // documentation
    v6([0x3fff, 0], 20),     // documentation
];

/// 6to4: the IPv4 address is in bits 16 to 47 (RFC 3056 section 2).
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0], 16);
/// NAT64: the IPv4 address is in the last 32 bits (RFC 6052 section 2.2).
const NAT64: Ipv6Net = v6([0x64, 0xff9b], 96);

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first[0], first[1], 0, 0, 0, 0, 0, 0), prefix)
}

/// The networks of all public addresses, each with the networks in it that are not public: what [`AddressPolicy`] permits
/// by default, for what decides by networks instead of addresses.
pub fn public_networks() -> Vec<(IpNet, Vec<IpNet>)> {
    let refused_v4 = || REFUSED_V4.iter().copied();
    let v4 = (
        IpNet::from(v4(0, 0, 0, 0, 0)),
        refused_v4().map(IpNet::from).collect(),
    );
    let tunnelled = refused_v4().map(|net| embedding(SIX_TO_FOUR, net));
    let v6 = (
        IpNet::from(GLOBAL_V6),
        REFUSED_V6
            .iter()
            .copied()
            .chain(tunnelled)
            .map(IpNet::from)
            .collect(),
    );
    let translated = (
        IpNet::from(NAT64),
        refused_v4()
            .map(|net| IpNet::from(embedding(NAT64, net)))
            .collect(),
    );
    vec![v4, v6, translated]
}

/// The addresses below `prefix` that lead to an IPv4 network whose address stands right behind the prefix.
fn embedding(prefix: Ipv6Net, network: Ipv4Net) -> Ipv6Net {
    let bits = u128::from(network.network().to_bits()) << (96 - prefix.prefix_len());
    Ipv6Net::new_assert(
        Ipv6Addr::from_bits(prefix.network().to_bits() | bits),
        prefix.prefix_len() + network.prefix_len(),
    )
}

/// Which addresses a callback may go to.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

impl AddressPolicy {
    /// Public addresses, and the given networks.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a callback may go to the address over https.
    pub fn permits(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.lists(address.into()) || is_global_v4(address),
            IpAddr::V6(address) => match embedded_v4(address) {
                Some(inner) => self.lists(address.into()) || self.permits(inner.into()),
                None => self.lists(address.into()) || is_global_v6(address),
            },
        }
    }

    /// Whether the address is in one of the listed networks, the only ones that plain http may go to.
    pub fn lists(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Checks what can be checked without resolving the host.
    ///
    /// # Errors
    /// With a sentence for the client.
    pub fn check_url(&self, url: &Url) -> Result<(), CallbackUrlError> {
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(CallbackUrlError::Scheme),
        };
        if plain && self.allowed.is_empty() {
            return Err(CallbackUrlError::PlainHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CallbackUrlError::Credentials);
        }
        let address = match url.host() {
            None | Some(Host::Domain("")) => return Err(CallbackUrlError::NoHost),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        match (plain, self.lists(address), self.permits(address)) {
            (true, true, _) | (false, _, true) => Ok(()),
            (true, false, true) => Err(CallbackUrlError::PlainHttp),
            (_, _, false) => Err(CallbackUrlError::NotPublic),
        }
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    !REFUSED_V4.iter().any(|network| network.contains(&address))
}

fn is_global_v6(address: Ipv6Addr) -> bool {
    GLOBAL_V6.contains(&address) && !REFUSED_V6.iter().any(|network| network.contains(&address))
}

/// The IPv4 address that a translated or tunnelled IPv6 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [_, _, a, b, c, d, .., w, x, y, z] = address.octets();
    if SIX_TO_FOUR.contains(&address) {
        Some(Ipv4Addr::new(a, b, c, d))
    } else if NAT64.contains(&address) {
        Some(Ipv4Addr::new(w, x, y, z))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn permits(address: &str) -> Option<bool> {
        address
            .parse()
            .ok()
            .map(|address| AddressPolicy::default().permits(address))
    }

    fn check(policy: &AddressPolicy, url: &str) -> Option<Result<(), CallbackUrlError>> {
        Url::parse(url).ok().map(|url| policy.check_url(&url))
    }

    fn home() -> AddressPolicy {
        AddressPolicy::new(
            ["10.0.0.0/8", "fd00::/8"]
                .iter()
                .filter_map(|net| net.parse().ok())
                .collect(),
        )
    }

    #[test]
    fn public_addresses_are_permitted() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert_eq!(permits(address), Some(true), "{address}");
        }
    }

    #[test]
    fn addresses_that_are_not_public_are_refused() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "168.63.129.16",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "100::1",
            "5f00::1",
            "64:ff9b:1::1",
        ] {
            assert_eq!(permits(address), Some(false), "{address}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_address_is_seen() {
        for address in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "::169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::ffff:100.64.0.1",
            "::ffff:168.63.129.16",
            "64:ff9b::169.254.169.254",
            "64:ff9b::100.64.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert_eq!(permits(address), Some(false), "{address}");
        }
        for address in ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"] {
            assert_eq!(permits(address), Some(true), "{address}");
        }
    }

    #[test]
    fn a_listed_network_is_permitted_and_nothing_beside_it() {
        let permits = |address: &str| address.parse().ok().map(|address| home().permits(address));
        assert_eq!(permits("10.1.2.3"), Some(true));
        assert_eq!(permits("::ffff:10.1.2.3"), Some(true));
        assert_eq!(permits("fd12::1"), Some(true));
        assert_eq!(permits("192.168.1.1"), Some(false));
        assert_eq!(permits("127.0.0.1"), Some(false));
    }

    #[test]
    fn a_url_is_https_without_credentials() {
        let policy = AddressPolicy::default();
        assert_eq!(check(&policy, "https://example.com/hook?x=1"), Some(Ok(())));
        for (url, error) in [
            ("ftp://example.com/", CallbackUrlError::Scheme),
            ("file:///etc/passwd", CallbackUrlError::Scheme),
            ("http://example.com/", CallbackUrlError::PlainHttp),
            ("https://user@example.com/", CallbackUrlError::Credentials),
            ("https://:secret@example.com/", CallbackUrlError::Credentials),
            ("https://127.0.0.1/", CallbackUrlError::NotPublic),
            ("https://0x7f.1/", CallbackUrlError::NotPublic),
            ("https://2130706433/", CallbackUrlError::NotPublic),
            ("https://[::1]/", CallbackUrlError::NotPublic),
            ("https://[::ffff:a9fe:a9fe]/", CallbackUrlError::NotPublic),
            ("https://[fd00:ec2::254]/", CallbackUrlError::NotPublic),
            ("https://169.254.169.254./", CallbackUrlError::NotPublic),
            ("https://0251.0376.0251.0376/", CallbackUrlError::NotPublic),
            ("https://１２７.0.0.1/", CallbackUrlError::NotPublic),
        ] {
            assert_eq!(check(&policy, url), Some(Err(error)), "{url}");
        }
    }

    #[test]
    fn plain_http_goes_only_into_a_listed_network() {
        assert_eq!(check(&home(), "http://10.1.2.3/hook"), Some(Ok(())));
        assert_eq!(
            check(&home(), "http://hook.internal/"),
            Some(Ok(())),
            "decided after resolving"
        );
        assert_eq!(
            check(&home(), "http://1.1.1.1/"),
            Some(Err(CallbackUrlError::PlainHttp))
        );
        assert_eq!(
            check(&home(), "http://192.168.1.1/"),
            Some(Err(CallbackUrlError::NotPublic))
        );
    }

    fn is_in_a_public_network(address: IpAddr) -> bool {
        public_networks().iter().any(|(network, refused)| {
            network.contains(&address) && !refused.iter().any(|network| network.contains(&address))
        })
    }

    #[test]
    fn the_networks_of_public_addresses_hold_what_is_refused() {
        for (network, refused) in public_networks() {
            for inner in refused {
                assert!(
                    network.contains(&inner) && network != inner,
                    "{inner} in {network}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn networks_and_addresses_are_judged_alike(
            v4: u32, v6: u128, prefix in proptest::sample::select(vec![(NAT64, 32), (SIX_TO_FOUR, 112), (GLOBAL_V6, 125)]),
        ) {
            let (prefix, free) = prefix;
            let below = prefix.network().to_bits() | (v6 & ((1_u128 << free) - 1));
            for address in [
                IpAddr::from(Ipv4Addr::from_bits(v4)),
                IpAddr::from(Ipv6Addr::from_bits(v6)),
                IpAddr::from(Ipv6Addr::from_bits(below)),
            ] {
                if address.to_canonical() == address {
                    prop_assert_eq!(is_in_a_public_network(address), AddressPolicy::default().permits(address), "{}", address);
                }
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_refused(bits: u32) {
            let address = Ipv4Addr::from_bits(bits);
            let special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_unspecified() || address.is_documentation()
                || address.is_broadcast();
            prop_assert!(!(special && AddressPolicy::default().permits(address.into())));
        }

        #[test]
        fn every_form_of_an_ipv4_address_is_judged_as_that_address(bits: u32) {
            let policy = AddressPolicy::default();
            let address = Ipv4Addr::from_bits(bits);
            let [a, b, c, d] = address.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let verdict = policy.permits(address.into());
            prop_assert_eq!(policy.permits(address.to_ipv6_mapped().into()), verdict);
            let translated = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            prop_assert_eq!(policy.permits(translated.into()), verdict);
            let tunnelled = Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1);
            prop_assert_eq!(policy.permits(tunnelled.into()), verdict);
        }

        #[test]
        fn an_ipv6_address_outside_of_global_unicast_is_refused(bits: u128) {
            let address = Ipv6Addr::from_bits(bits);
            let global = address.segments()[0] >> 13 == 1;
            let embeds = embedded_v4(address).is_some() || address.to_ipv4_mapped().is_some();
            prop_assert!(global || embeds || !AddressPolicy::default().permits(address.into()));
        }
    }
}
