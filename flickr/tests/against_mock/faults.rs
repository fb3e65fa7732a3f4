use std::{net::Ipv4Addr, time::Duration};

use flickrhub_flickr::{
    Disposition::{self, OutcomeUnknown, Permanent, Retryable},
    Endpoints, Failure, FlickrClient, FlickrError, Interruption, Timeouts,
};
use flickrhub_flickr_mock::fault::{Kind, Rule};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, TIMEOUTS, answering, content, photo};

const IMPATIENT: Timeouts = Timeouts {
    call: Duration::from_millis(300),
    upload: Duration::from_secs(2),
    ..TIMEOUTS
};

fn http(status: u16) -> Kind {
    Kind::HttpStatus {
        status,
        retry_after: None,
    }
}

/// Rows: fault; then label and disposition of a read, of a write that can be repeated, of a write
/// that cannot, and of an upload.
#[tokio::test]
async fn each_fault_has_its_disposition() {
    let fixture = Fixture::start().await;
    fixture.upload(&[], photo(&content(10))).await.unwrap();
    let id = fixture.mock.photos()[0].id.clone();
    let photo_id = ("photo_id", id.as_str());
    let drop = || Kind::DropConnection;
    let error_code = |code| Kind::ErrorCode { code };
    let oauth = |problem: &str| Kind::OauthProblem {
        problem: problem.into(),
    };
    let once = [Retryable, Retryable, OutcomeUnknown, OutcomeUnknown];
    let table: [(Kind, &str, [Disposition; 4]); 16] = [
        (http(429), "http_429", [Retryable; 4]),
        (http(500), "http_500", once),
        (http(502), "http_502", once),
        (http(503), "http_503", once),
        (
            Kind::HttpStatus {
                status: 503,
                retry_after: Some(1),
            },
            "http_503",
            [Retryable; 4],
        ),
        (http(504), "http_504", once),
        (http(404), "http_404", [Permanent; 4]),
        (Kind::WrongBody, "malformed_answer", once),
        (drop(), "connection_lost", once),
        (error_code(105), "105", [Retryable; 4]),
        (error_code(106), "106", [Retryable; 4]),
        (error_code(201), "201", [Retryable; 4]),
        (error_code(98), "98", [Permanent; 4]),
        (oauth("token_rejected"), "oauth_token_rejected", [Permanent; 4]),
        (
            oauth("timestamp_refused"),
            "oauth_timestamp_refused",
            [Retryable; 4],
        ),
        (oauth("nonce_used"), "oauth_nonce_used", [Retryable; 4]),
    ];
    for (kind, label, expected) in table {
        for phase in [Rule::new("*", kind.clone()), Rule::new("*", kind).after_effect()] {
            fixture.mock.add_fault(phase);
            let errors: [FlickrError; 4] = [
                fixture
                    .call("flickr.photos.getInfo", &[photo_id])
                    .await
                    .unwrap_err(),
                fixture
                    .call("flickr.photos.setMeta", &[photo_id, ("title", "t")])
                    .await
                    .unwrap_err(),
                fixture
                    .call(
                        "flickr.photosets.create",
                        &[("title", "t"), ("primary_photo_id", id.as_str())],
                    )
                    .await
                    .unwrap_err(),
                fixture.upload(&[], photo(&content(10))).await.unwrap_err(),
            ];
            fixture.mock.clear_faults();
            assert_eq!(
                errors.each_ref().map(FlickrError::disposition),
                expected,
                "{label}"
            );
            for error in &errors {
                assert_eq!(error.label(), label);
            }
        }
    }
}

#[tokio::test]
async fn the_wait_that_flickr_asks_for_is_passed_on() {
    let fixture = Fixture::start().await;
    let kind = Kind::HttpStatus {
        status: 429,
        retry_after: Some(17),
    };
    fixture.mock.add_fault(Rule::new("flickr.test.*", kind).times(1));
    let error = fixture.call("flickr.test.login", &[]).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
    // The rule was good for one call.
    fixture.call("flickr.test.login", &[]).await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_is_a_timeout() {
    let fixture = Fixture::with(|builder| builder, IMPATIENT).await;
    fixture.mock.add_fault(Rule::new("*", Kind::Slow { ms: 30_000 }));
    let timeout = Failure::Interrupted {
        cause: Interruption::Timeout,
        sent: true,
    };

    let read = fixture.call("flickr.test.login", &[]).await.unwrap_err();
    assert_eq!((read.failure(), read.disposition()), (&timeout, Retryable));
    let upload = fixture.upload(&[], photo(&content(10))).await.unwrap_err();
    assert_eq!(
        (upload.failure(), upload.disposition()),
        (&timeout, OutcomeUnknown)
    );
    assert_eq!(upload.label(), "timeout");
}

#[tokio::test]
async fn a_slow_answer_after_the_effect_is_a_timeout_that_left_a_photo() {
    let fixture = Fixture::with(|builder| builder, IMPATIENT).await;
    fixture
        .mock
        .add_fault(Rule::new("upload", Kind::Slow { ms: 30_000 }).after_effect());
    let upload = fixture.upload(&[], photo(&content(10))).await.unwrap_err();
    assert_eq!(
        (upload.label().as_ref(), upload.disposition()),
        ("timeout", OutcomeUnknown)
    );
    assert_eq!(fixture.mock.photos().len(), 1);
    assert_eq!(fixture.last_entry().effect_id, Some(1));
}

#[tokio::test]
async fn an_upload_that_is_refused_unread_is_told_by_its_status() {
    let fixture = Fixture::start().await;
    let kind = Kind::Refuse {
        status: 503,
        retry_after: Some(3),
    };
    fixture.mock.add_fault(Rule::new("upload", kind));
    let error = fixture.upload(&[], photo(&content(10))).await.unwrap_err();
    assert_eq!(
        (error.label().as_ref(), error.disposition()),
        ("http_503", Retryable)
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
    assert!(fixture.mock.photos().is_empty());
}

#[tokio::test]
async fn an_upload_cut_off_on_its_way_is_retryable_and_left_nothing() {
    let fixture = Fixture::start().await;
    fixture.mock.add_fault(Rule::new("upload", Kind::DropConnection));
    // More than the socket buffers of both sides hold.
    let error = fixture
        .upload(&[], photo(&content(40_000_000)))
        .await
        .unwrap_err();
    let expected = Failure::Interrupted {
        cause: Interruption::Connection,
        sent: false,
    };
    assert_eq!((error.failure(), error.disposition()), (&expected, Retryable));
    assert!(fixture.mock.photos().is_empty());
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_has_an_unknown_outcome_and_left_a_photo() {
    let fixture = Fixture::start().await;
    fixture
        .mock
        .add_fault(Rule::new("upload", Kind::DropConnection).after_effect());
    let error = fixture.upload(&[], photo(&content(1_000_000))).await.unwrap_err();
    let expected = Failure::Interrupted {
        cause: Interruption::Connection,
        sent: true,
    };
    assert_eq!(
        (error.failure(), error.disposition()),
        (&expected, OutcomeUnknown)
    );
    assert_eq!(fixture.mock.photos().len(), 1);
    let entry = fixture.last_entry();
    assert_eq!(
        (entry.status, entry.effect_id, entry.fault),
        (0, Some(1), Some("drop_connection"))
    );
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_read() {
    let fixture = Fixture::start().await;
    fixture
        .mock
        .add_fault(Rule::new("*", Kind::LongBody { bytes: 9 << 20 }));
    let error = fixture.call("flickr.test.echo", &[]).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::AnswerTooLarge { limit: 8 << 20 });
    assert_eq!(error.disposition(), Permanent);
}

#[tokio::test]
async fn a_refusal_whose_body_breaks_off_or_is_too_long_is_a_refusal() {
    let cut = "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 1000\r\n\r\n<html>";
    let long = "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 99000000\r\n\r\n<html>";
    let mut fixture = Fixture::start().await;
    for answer in [cut, long] {
        let (origin, _head) = answering(answer).await;
        fixture.client = FlickrClient::new(Endpoints::under(&origin).unwrap(), TIMEOUTS).unwrap();
        let error = fixture.call("flickr.photosets.create", &[]).await.unwrap_err();
        assert_eq!(
            error.failure(),
            &Failure::Http {
                status: 503,
                retry_after: Some(Duration::from_secs(9))
            }
        );
        assert_eq!(error.disposition(), Retryable);
    }
    let (origin, _head) = answering("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{").await;
    fixture.client = FlickrClient::new(Endpoints::under(&origin).unwrap(), TIMEOUTS).unwrap();
    let error = fixture.call("flickr.photosets.create", &[]).await.unwrap_err();
    assert_eq!(
        (error.label().as_ref(), error.disposition()),
        ("connection_lost", OutcomeUnknown)
    );
}

#[tokio::test]
async fn no_connection_is_retryable_whatever_was_to_be_sent() {
    let mut fixture = Fixture::start().await;
    // A port that was free a moment ago.
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let endpoints = Endpoints::under(&format!("http://127.0.0.1:{port}").parse().unwrap()).unwrap();
    fixture.client = FlickrClient::new(endpoints, TIMEOUTS).unwrap();
    let upload = fixture.upload(&[], photo(&content(10))).await.unwrap_err();
    assert_eq!(
        (upload.failure(), upload.disposition()),
        (&Failure::Connect, Retryable)
    );
    let call = fixture.call("flickr.test.login", &[]).await.unwrap_err();
    assert_eq!(
        (call.label().as_ref(), call.disposition()),
        ("connect", Retryable)
    );
}
