//! Where a request comes from, through the whole stack: what the audit log notes, and what allowlists and limits go by.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use flickrhub_job::audit::AuditEvent;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::serve_on;
use super::{ask_of, config, directory, parts, request};
use crate::address::Peer;
use crate::audit::AuditSink;
use crate::audit::fixture::Memory;
use crate::auth::StoredKey;
use crate::auth::fixture::key;
use crate::state::{AppState, Parts};

/// The networks of the proxies before the API of these tests.
const PROXIES: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

/// A state with an audit log in memory, behind proxies of these networks.
fn behind(proxies: &[&str]) -> (AppState, Arc<Memory>) {
    let mut config = config();
    config.api.trusted_proxies = proxies
        .iter()
        .map(|network| network.parse().expect("a network"))
        .collect();
    let memory = Arc::new(Memory::default());
    let state = AppState::of(Parts {
        audit: Arc::clone(&memory) as Arc<dyn AuditSink>,
        ..parts(config)
    });
    (state, memory)
}

/// The addresses of the entries about requests, in their order, once there are so many.
async fn noted(memory: &Memory, count: usize) -> Vec<String> {
    let entries = async {
        loop {
            let found: Vec<String> = memory
                .entries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .filter(|sealed| sealed.entry.route.is_some())
                .map(|sealed| sealed.entry.address.clone().unwrap_or_default())
                .collect();
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), entries)
        .await
        .expect("the entries are written")
}

/// The peer of the connection, the headers of the request, and where it comes from.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test]
async fn the_audit_log_believes_a_proxy_of_ours_and_nobody_else() {
    let rows: [Row<'_>; 14] = [
        ("192.0.2.1", &[], "192.0.2.1"),
        // A stranger may write what it likes.
        ("192.0.2.1", &[("X-Forwarded-For", "198.51.100.7")], "192.0.2.1"),
        ("192.0.2.1", &[("X-Forwarded-For", "10.0.0.1")], "192.0.2.1"),
        ("192.0.2.1", &[("Forwarded", "for=198.51.100.7")], "192.0.2.1"),
        ("192.0.2.1", &[("X-Real-IP", "198.51.100.7")], "192.0.2.1"),
        (
            "2001:db8::1",
            &[("X-Forwarded-For", "198.51.100.7")],
            "2001:db8::1",
        ),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &[("X-Forwarded-For", "198.51.100.7")], "198.51.100.7"),
        (
            "::ffff:10.0.0.1",
            &[("X-Forwarded-For", "198.51.100.7")],
            "198.51.100.7",
        ),
        ("fd00::1", &[("X-Forwarded-For", "2001:db8::7")], "2001:db8::7"),
        // What the caller wrote stands before what the proxy did.
        (
            "10.0.0.1",
            &[("X-Forwarded-For", "127.0.0.1, 198.51.100.7")],
            "198.51.100.7",
        ),
        (
            "10.0.0.1",
            &[
                ("X-Forwarded-For", "127.0.0.1"),
                ("X-Forwarded-For", "198.51.100.7, 10.2.2.2"),
            ],
            "198.51.100.7",
        ),
        // Other headers are nothing that a proxy of ours has to take away.
        ("10.0.0.1", &[("Forwarded", "for=203.0.113.9")], "10.0.0.1"),
        (
            "10.0.0.1",
            &[
                ("Forwarded", "for=203.0.113.9"),
                ("X-Forwarded-For", "198.51.100.7"),
            ],
            "198.51.100.7",
        ),
    ];
    // A failure and a call: they go into the log by different ways.
    for (key, event) in [
        ("nobody", AuditEvent::AuthenticationFailed),
        ("reader", AuditEvent::ApiCall),
    ] {
        let (state, memory) = behind(&PROXIES);
        for (number, (peer, headers, expected)) in rows.iter().enumerate() {
            let mut request = request("GET /api/v1/jobs", key, headers, "");
            let peer: IpAddr = peer.parse().expect("an address");
            request.extensions_mut().insert(Peer(peer));
            ask_of(state.clone(), request).await;
            let noted = noted(&memory, number + 1).await;
            assert_eq!(noted[number], *expected, "{event:?} {peer} {headers:?}");
        }
        let noted = memory.events();
        let count = noted.iter().filter(|noted| **noted == event).count();
        assert_eq!(count, rows.len(), "{event:?}");
    }
}

#[tokio::test]
async fn without_proxies_of_ours_no_header_is_read() {
    let (state, memory) = behind(&[]);
    let headers = [
        ("X-Forwarded-For", "198.51.100.7"),
        ("Forwarded", "for=198.51.100.7"),
    ];
    let mut request = request("GET /api/v1/jobs", "nobody", &headers, "");
    request.extensions_mut().insert(Peer(IpAddr::from([10, 0, 0, 1])));
    ask_of(state, request).await;
    assert_eq!(noted(&memory, 1).await, ["10.0.0.1"]);
}

#[tokio::test]
async fn over_a_socket_the_peer_is_that_of_the_connection() {
    for (proxies, expected) in [
        (&["127.0.0.0/8"][..], "198.51.100.7"),
        (&["10.0.0.0/8"][..], "127.0.0.1"),
        (&[][..], "127.0.0.1"),
    ] {
        let (state, memory) = behind(proxies);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve_on(listener, state, std::future::pending()));
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = "GET /api/v1/jobs HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\
                       x-forwarded-for: 127.0.0.1, 198.51.100.7\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert_eq!(noted(&memory, 1).await, [expected], "{proxies:?}");
    }
}

#[tokio::test]
async fn a_forged_address_opens_no_allowlist_and_escapes_no_limit() {
    let mut config = config();
    config.api.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    let keys = directory();
    keys.change(|keys| {
        let listed = StoredKey {
            allowed_networks: Some(vec!["198.51.100.0/24".parse().expect("a network")]),
            scopes: vec!["jobs:read".to_owned()],
            ..key()
        };
        keys.insert("listed".to_owned(), listed);
    });
    let state = AppState::of(Parts {
        keys: Arc::new(keys),
        ..parts(config)
    });
    let ask = async |peer: [u8; 4], key: &str, forwarded: &str| {
        let mut request = request("GET /api/v1/jobs", key, &[("X-Forwarded-For", forwarded)], "");
        request.extensions_mut().insert(Peer(IpAddr::from(peer)));
        ask_of(state.clone(), request).await
    };
    let forged = ask([192, 0, 2, 1], "listed", "198.51.100.7").await;
    assert_eq!((forged.status, forged.code()), (403, "address_not_allowed"));
    let true_one = ask([10, 0, 0, 1], "listed", "198.51.100.7").await;
    assert_eq!(true_one.code(), "unavailable", "as far as the data tier");
    let before = ask([10, 0, 0, 1], "listed", "198.51.100.7, 192.0.2.1").await;
    assert_eq!(before.code(), "address_not_allowed");

    let guess = async |peer: [u8; 4], secret: u8, forwarded: &str| {
        let authorization = format!("Bearer fh_reader_guess{secret}");
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Forwarded-For", forwarded),
        ];
        let mut request = request("GET /api/v1/jobs", "", &headers, "");
        request.extensions_mut().insert(Peer(IpAddr::from(peer)));
        ask_of(state.clone(), request).await
    };
    let mut refused = 0;
    for secret in 0..40 {
        let answer = guess([192, 0, 2, 1], secret, &format!("203.0.113.{secret}")).await;
        refused += u32::from(answer.code() == "too_many_failed_authentications");
    }
    assert!(
        refused > 0,
        "one address has one limit, whatever it says of itself"
    );
    let elsewhere = guess([10, 0, 0, 1], 40, "203.0.113.1").await;
    assert_eq!((elsewhere.status, elsewhere.code()), (401, "unauthenticated"));
}
