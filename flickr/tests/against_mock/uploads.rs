use std::{fmt::Write, io};

use bytes::Bytes;
use flickrhub_flickr::{
    Disposition, Failure, PhotoBody, PhotoId, TicketId, TicketState, TraceHeaders, Uploaded,
};
use flickrhub_flickr_mock::{
    Permission,
    fault::{Kind, Rule},
};
use futures::stream;
use sha2::{Digest, Sha256};

use crate::fixture::{Fixture, content, eventually, owned, photo, token};

const FIVE_MEGABYTES: usize = 5_000_000;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, octet| {
            write!(hex, "{octet:02x}").unwrap();
            hex
        })
}

fn ticket(uploaded: Uploaded) -> TicketId {
    match uploaded {
        Uploaded::Ticket(ticket) => ticket,
        Uploaded::Photo(photo) => panic!("a photo, {photo}, not a ticket"),
    }
}

/// The state of a ticket when it is no longer pending.
async fn settled(fixture: &Fixture, ticket: &TicketId) -> TicketState {
    eventually(async || {
        let (client, trace) = (&fixture.client, TraceHeaders::none());
        let states = client
            .check_tickets(&fixture.app, std::slice::from_ref(ticket), &trace)
            .await
            .unwrap();
        let (_, state) = states.into_iter().next().unwrap();
        (state != TicketState::Pending).then_some(state)
    })
    .await
}

#[tokio::test]
async fn a_photo_arrives_whole_with_its_fields() {
    let fixture = Fixture::start().await;
    let bytes = content(FIVE_MEGABYTES);
    let fields = [
        ("title", "Ümlaut & co"),
        ("tags", "a \"b c\""),
        ("description", "line\nline"),
    ];
    let uploaded = fixture.upload(&fields, photo(&bytes)).await.unwrap();

    let [stored] = &fixture.mock.photos()[..] else {
        panic!("not one photo")
    };
    assert_eq!(uploaded, Uploaded::Photo(PhotoId(stored.id.clone())));
    assert_eq!(stored.bytes, 5_000_000);
    assert_eq!(stored.sha256, sha256(&bytes));
    assert_eq!(stored.owner, fixture.user.user_nsid);
    assert_eq!(stored.title, "Ümlaut & co");
    assert_eq!(stored.tags, ["a", "b c"]);
    assert_eq!(fixture.last_entry().effect.as_ref(), Some(&stored.id));
}

#[tokio::test]
async fn an_asynchronous_upload_gives_a_ticket_and_then_a_photo() {
    let fixture = Fixture::start().await;
    let uploaded = fixture
        .upload(&[("async", "1")], photo(&content(FIVE_MEGABYTES)))
        .await
        .unwrap();
    let id = PhotoId(fixture.mock.photos()[0].id.clone());
    assert_eq!(
        settled(&fixture, &ticket(uploaded)).await,
        TicketState::Complete(id)
    );

    let unknown = settled(&fixture, &TicketId("no-such".into())).await;
    assert_eq!(unknown, TicketState::Unknown);
}

#[tokio::test]
async fn a_conversion_that_fails_shows_in_the_ticket() {
    let fixture = Fixture::start().await;
    fixture.mock.add_fault(Rule::new("upload", Kind::TicketFails));
    let uploaded = fixture
        .upload(&[("async", "1")], photo(&content(10)))
        .await
        .unwrap();
    assert_eq!(settled(&fixture, &ticket(uploaded)).await, TicketState::Failed);
    assert!(fixture.mock.photos().is_empty());
}

#[tokio::test]
async fn a_replacement_changes_content_and_keeps_the_id() {
    let fixture = Fixture::start().await;
    let Uploaded::Photo(id) = fixture.upload(&[], photo(&content(100))).await.unwrap() else {
        panic!("not a photo")
    };
    let new = content(1_000_000);
    let replace = async |fields: &[_]| {
        let (client, trace) = (&fixture.client, TraceHeaders::none());
        client
            .replace(
                &fixture.app,
                &fixture.token,
                &id,
                &owned(fields),
                photo(&new),
                &trace,
            )
            .await
    };
    assert_eq!(replace(&[]).await.unwrap(), Uploaded::Photo(id.clone()));
    assert_eq!(fixture.mock.photos()[0].sha256, sha256(&new));
    assert_eq!(fixture.mock.photos()[0].replaced, 1);

    let ticket = ticket(replace(&[("async", "1")]).await.unwrap());
    assert_eq!(
        settled(&fixture, &ticket).await,
        TicketState::Complete(id.clone())
    );
    assert_eq!(fixture.mock.photos().len(), 1);
}

#[tokio::test]
async fn an_upload_without_write_permission_is_refused() {
    let mut fixture = Fixture::start().await;
    fixture.token = token(&fixture.mock.add_user("reader", Permission::Read));
    let error = fixture.upload(&[], photo(&content(10))).await.unwrap_err();
    assert_eq!(error.code(), Some(99));
    assert_eq!(error.disposition(), Disposition::Permanent);
}

#[tokio::test]
async fn unacceptable_files_are_refused() {
    let fixture = Fixture::start().await;
    let empty = fixture.upload(&[], photo(&[])).await.unwrap_err();
    assert_eq!(empty.code(), Some(4));
    let mut text = photo(b"not a picture");
    text.content_type = "text/plain".into();
    assert_eq!(fixture.upload(&[], text).await.unwrap_err().code(), Some(5));
    let mut nonsense = photo(b"x");
    nonsense.content_type = "no media type".into();
    assert_eq!(
        fixture.upload(&[], nonsense).await.unwrap_err().failure(),
        &Failure::Request
    );
}

#[tokio::test]
async fn a_duplicate_is_told_with_the_photo_it_duplicates() {
    let fixture = Fixture::start().await;
    let bytes = content(1000);
    fixture.upload(&[], photo(&bytes)).await.unwrap();
    let error = fixture
        .upload(&[("dedup_check", "1")], photo(&bytes))
        .await
        .unwrap_err();
    let Failure::Api(failure) = error.failure() else {
        panic!("{error}")
    };
    assert_eq!(failure.code, 9);
    assert_eq!(
        failure.duplicate_of,
        Some(PhotoId(fixture.mock.photos()[0].id.clone()))
    );
    assert_eq!(error.disposition(), Disposition::Permanent);
}

/// A photo declared as 1 MB whose stream gives `chunks`.
fn declared_megabyte(
    chunks: Vec<io::Result<Bytes>>,
) -> PhotoBody<impl futures::Stream<Item = io::Result<Bytes>> + Send + 'static> {
    PhotoBody {
        file_name: "a.jpg".into(),
        content_type: "image/jpeg".into(),
        length: 1_000_000,
        stream: stream::iter(chunks),
    }
}

#[tokio::test]
async fn a_stream_that_fails_or_ends_early_leaves_no_photo() {
    let fixture = Fixture::start().await;
    let some = || Ok(Bytes::from(content(500_000)));

    let broken = declared_megabyte(vec![some(), Err(io::ErrorKind::TimedOut.into())]);
    let error = fixture.upload(&[], broken).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::PhotoSource);
    assert_eq!(error.disposition(), Disposition::Retryable);

    let short = fixture
        .upload(&[], declared_megabyte(vec![some()]))
        .await
        .unwrap_err();
    assert_eq!(
        short.failure(),
        &Failure::PhotoLength {
            declared: 1_000_000,
            read: 500_000
        }
    );
    assert_eq!(short.disposition(), Disposition::Permanent);

    let long = fixture
        .upload(&[], declared_megabyte(vec![some(), some(), some()]))
        .await
        .unwrap_err();
    assert!(
        matches!(long.failure(), Failure::PhotoLength { read: 1_500_000, .. }),
        "{long}"
    );
    assert!(fixture.mock.photos().is_empty());
}
