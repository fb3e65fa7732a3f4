//! Photos are stored before their job is accepted, and not at all when it is not.

use std::time::Duration;

use flickrhub_api::patience::Patience;
use flickrhub_job::store::BodyStore;
use futures::{StreamExt, stream};
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use uuid::Uuid;

use crate::hub::{Answer, Hub};

const LIMIT: usize = 2_000_000;

/// The beginning of a JPEG, then zeros.
fn jpeg(length: usize) -> Vec<u8> {
    let mut bytes = b"\xff\xd8\xff\xe0\0\x10JFIF\0".to_vec();
    bytes.resize(length, 0);
    bytes
}

fn photo(bytes: Vec<u8>, name: &str, content_type: &str) -> Part {
    Part::bytes(bytes)
        .file_name(name.to_owned())
        .mime_str(content_type)
        .unwrap()
}

async fn send(hub: &Hub, path: &str, form: Form) -> Answer {
    let request = hub.request(&format!("POST {path}")).multipart(form);
    Answer::of(request.send().await.unwrap()).await
}

async fn start() -> Hub {
    Hub::start(|config| config.api.max_upload_bytes = LIMIT as u64).await
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_upload_and_a_replacement_are_stored_with_their_photo() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    for (path, queue) in [
        ("/api/v1/uploads", "flickr_upload"),
        ("/api/v1/photos/53000000001/replace", "flickr_replace"),
    ] {
        let name = format!("{}.jpg", Uuid::now_v7());
        let form = Form::new()
            .text("user_id", user_id.clone())
            .part("photo", photo(jpeg(LIMIT), &name, "image/jpeg"))
            .text("priority", "low");
        let accepted = send(&hub, path, form).await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        assert_eq!(accepted.body["queue"], queue);
        let job = hub.jobs.get(accepted.job_id()).await.unwrap().unwrap();
        let body = job.body.unwrap();
        assert_eq!(
            (body.length, body.file_name, body.content_type.as_str()),
            (LIMIT as u64, name.clone(), "image/jpeg")
        );
        assert_eq!(hub.stored_files(&name).await, 1);
        if queue == "flickr_replace" {
            assert_eq!(job.params["photo_id"], "53000000001");
        }
    }
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_bad_upload_leaves_nothing() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    let reader = hub.add_user("read").await;
    let name = format!("{}.jpg", Uuid::now_v7());
    let user = || Form::new().text("user_id", user_id.clone());
    let good = || photo(jpeg(300_000), &name, "image/jpeg");
    let of = |bytes: &[u8], kind: &str| photo(bytes.to_vec(), &name, kind);
    for (what, form, status, code, fields) in [
        ("no photo", user(), 422, "invalid_request", vec!["photo"]),
        (
            "no user",
            Form::new().part("photo", good()),
            422,
            "invalid_request",
            vec!["user_id"],
        ),
        (
            "a stranger",
            Form::new().text("user_id", "1@N99").part("photo", good()),
            422,
            "unknown_user",
            vec!["user_id"],
        ),
        (
            "read only",
            Form::new().text("user_id", reader).part("photo", good()),
            403,
            "permission_insufficient",
            vec!["user_id"],
        ),
        (
            "no photo at all",
            user().part("photo", of(b"%PDF-1.7", "image/jpeg")),
            422,
            "invalid_request",
            vec!["photo"],
        ),
        (
            "another format",
            user().part("photo", of(&jpeg(500), "image/png")),
            422,
            "invalid_request",
            vec!["photo"],
        ),
        (
            "an empty file",
            user().part("photo", of(b"", "image/jpeg")),
            422,
            "invalid_request",
            vec!["photo"],
        ),
        (
            "two photos",
            user().part("photo", good()).part("photo", good()),
            422,
            "invalid_request",
            vec!["photo"],
        ),
        (
            "an unknown part",
            user().part("photo", good()).text("async", "1"),
            422,
            "invalid_request",
            vec!["async"],
        ),
        (
            "a wrong value",
            user().part("photo", good()).text("is_public", "yes"),
            422,
            "invalid_request",
            vec!["is_public"],
        ),
        (
            "a long text",
            user().part("photo", good()).text("title", "x".repeat(70_000)),
            422,
            "invalid_request",
            vec!["title"],
        ),
        (
            "a large photo",
            user().part("photo", photo(jpeg(LIMIT + 1), &name, "image/jpeg")),
            413,
            "body_too_large",
            vec!["photo"],
        ),
        (
            "a user who comes after the photo",
            Form::new().part("photo", good()).text("user_id", user_id.clone()),
            422,
            "invalid_request",
            vec!["user_id"],
        ),
    ] {
        let answer = send(&hub, "/api/v1/uploads", form).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{what}");
        assert_eq!(answer.fields(), fields, "{what}");
    }
    assert!(hub.stored_jobs().await.is_empty());
    assert_eq!(hub.stored_files(&name).await, 0);
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_length_that_lies_is_counted_while_it_streams() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    let name = format!("{}.jpg", Uuid::now_v7());
    let endless = stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(jpeg(100_000))));
    let part = Part::stream(Body::wrap_stream(endless))
        .file_name(name.clone())
        .mime_str("image/jpeg")
        .unwrap();
    let request = hub.request("POST /api/v1/uploads");
    let answer = request
        .multipart(Form::new().text("user_id", user_id).part("photo", part))
        .send()
        .await;
    // The connection may be closed before the client has read the answer: it was still sending.
    if let Ok(answer) = answer {
        assert_eq!(Answer::of(answer).await.code(), "body_too_large");
    }
    assert!(hub.stored_jobs().await.is_empty());
    assert_eq!(hub.stored_files(&name).await, 0);
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    let name = format!("{}.jpg", Uuid::now_v7());
    let broken = stream::iter([
        // More than one piece of the body store.
        Ok(jpeg(1_500_000)),
        Err(std::io::Error::other("the client gave up")),
    ]);
    let part = Part::stream(Body::wrap_stream(broken))
        .file_name(name.clone())
        .mime_str("image/jpeg")
        .unwrap();
    let request = hub.request("POST /api/v1/uploads");
    let sent = request
        .multipart(Form::new().text("user_id", user_id).part("photo", part))
        .send()
        .await;
    assert!(sent.is_err());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert!(hub.stored_jobs().await.is_empty());
    assert_eq!(hub.stored_files(&name).await, 0);
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_upload_whose_photo_is_gone_is_not_replayed() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    let form = Form::new()
        .text("user_id", user_id)
        .text("expires_in", "1")
        .part("photo", photo(jpeg(5_000), "gone.jpg", "image/jpeg"));
    let id = send(&hub, "/api/v1/uploads", form).await.job_id();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    // A dispatcher that runs meanwhile may have been faster.
    hub.jobs.expire_if_due(id).await.unwrap();
    let body = hub.jobs.get(id).await.unwrap().unwrap().body.unwrap();
    BodyStore::new(&hub.database).delete(&body.file_id).await.unwrap();
    let answer = hub.ask(&format!("POST /api/v1/jobs/{id}/replay")).await;
    assert_eq!((answer.status, answer.code()), (409, "job_body_gone"));
    assert_eq!(hub.stored_jobs().await.len(), 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_upload_to_a_full_queue_is_refused_before_its_photo_is_stored() {
    let hub = Hub::start(|_| {}).await;
    hub.limit(|limits| limits.buffer_per_queue = 0);
    let user_id = hub.add_user("write").await;
    let form = Form::new()
        .text("user_id", user_id)
        .part("photo", photo(jpeg(5_000), "full.jpg", "image/jpeg"));
    let answer = send(&hub, "/api/v1/uploads", form).await;
    assert_eq!((answer.status, answer.code()), (503, "queue_full"));
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn an_upload_that_is_sent_again_is_one_job_and_leaves_one_photo() {
    let hub = start().await;
    let user_id = hub.add_user("write").await;
    let name = format!("{}.jpg", Uuid::now_v7());
    let upload = |length: usize| {
        let form = Form::new()
            .text("user_id", user_id.clone())
            .part("photo", photo(jpeg(length), &name, "image/jpeg"));
        let request = hub.request("POST /api/v1/uploads").header("Idempotency-Key", "u");
        async { Answer::of(request.multipart(form).send().await.unwrap()).await }
    };
    let first = upload(1000).await;
    assert_eq!(first.status, 202, "{first:?}");
    // A repetition comes through although the user has no place for another job.
    hub.limit(|limits| limits.pending_per_user = 1);
    let again = upload(1000).await;
    assert_eq!(
        (again.status, again.header("idempotent-replayed")),
        (202, "true"),
        "{again:?}"
    );
    assert_eq!(again.body, first.body);
    let other = upload(1001).await;
    assert_eq!((other.status, other.code()), (422, "idempotency_key_reused"));
    assert_eq!(hub.stored_jobs().await.len(), 1);
    assert_eq!(hub.stored_files(&name).await, 1);
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn what_is_no_form_is_told_so() {
    let hub = start().await;
    for (content_type, body) in [
        ("multipart/form-data", "--x--"),
        ("multipart/form-data; boundary=x", "user_id=1"),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data\r\n\r\n1@N01\r\n--x--\r\n",
        ),
    ] {
        let request = hub
            .request("POST /api/v1/uploads")
            .header("Content-Type", content_type)
            .body(body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid_multipart"),
            "{content_type} {body}"
        );
    }
    assert_eq!(hub.stored_jobs().await, []);
    hub.no_piece_is_left().await;
}

#[tokio::test]
#[ignore = "needs the data tier: make test"]
async fn a_photo_that_stands_still_is_given_up_and_others_are_received_meanwhile() {
    let patience = Patience {
        photo_piece: Duration::from_secs(2),
        ..Patience::default()
    };
    let hub = Hub::start_with(patience, |config| config.api.max_upload_bytes = LIMIT as u64).await;
    let user_id = hub.add_user("write").await;
    let name = format!("{}.jpg", Uuid::now_v7());
    let form = |photo: Part| Form::new().text("user_id", user_id.clone()).part("photo", photo);
    let beginning = stream::iter([Ok::<_, std::io::Error>(jpeg(400_000))]);
    let standing = Part::stream(Body::wrap_stream(beginning.chain(stream::pending())))
        .file_name(name.clone())
        .mime_str("image/jpeg")
        .unwrap();
    let slow = send(&hub, "/api/v1/uploads", form(standing));
    let other = async {
        let whole = photo(jpeg(1000), &format!("{}.jpg", Uuid::now_v7()), "image/jpeg");
        send(&hub, "/api/v1/uploads", form(whole)).await
    };
    let both = async { tokio::join!(slow, other) };
    let (slow, other) = tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!((slow.status, slow.code()), (408, "body_incomplete"));
    assert_eq!(other.status, 202, "{other:?}");
    assert_eq!(hub.stored_files(&name).await, 0);
    hub.no_piece_is_left().await;
}
