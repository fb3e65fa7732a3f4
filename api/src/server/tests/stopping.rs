//! What clients see of a process that is told to stop.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::super::serve_on;
use super::{config, state_of};

/// What is answered to a request that has no body and gets none.
async fn answer(stream: &mut TcpStream) -> String {
    let request = b"GET /healthz HTTP/1.1\r\nhost: api\r\n\r\n";
    stream.write_all(request).await.expect("the request is sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("the answer is read"));
    }
    String::from_utf8(answer)
        .expect("headers are text")
        .to_lowercase()
}

#[tokio::test]
async fn the_last_answer_on_a_connection_says_so_and_none_is_closed_without_a_word() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let state = state_of(config());
    let (stop, told) = oneshot::channel::<()>();
    let server = tokio::spawn(serve_on(listener, state.clone(), async {
        let _ = told.await;
    }));
    let mut kept = TcpStream::connect(address).await.expect("it listens");
    assert!(!answer(&mut kept).await.contains("connection: close"));

    stop.send(()).expect("the server runs");
    while !state.readiness.is_draining() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // One that begins now is served, too: the cluster may not have noticed.
    let mut late = TcpStream::connect(address).await.expect("it still listens");
    for stream in [&mut kept, &mut late] {
        let last = answer(stream).await;
        assert!(
            last.contains("200 ok") && last.contains("connection: close"),
            "{last}"
        );
        assert_eq!(stream.read(&mut [0; 1]).await.ok(), Some(0));
    }
    assert!(server.await.is_ok_and(|ended| ended.is_ok()));
}
