use flickrhub_flickr::{
    Disposition, Failure, Method, TraceHeaders,
    oauth1::{Signable, Stamp, authorization_header},
};
use flickrhub_flickr_mock::Permission;
use reqwest::{Client, Url};

use crate::fixture::{Fixture, content, owned, photo, token};

#[tokio::test]
async fn a_search_finds_what_was_uploaded() {
    let fixture = Fixture::start().await;
    for title in ["a bee", "a wasp", "two bees"] {
        let fields = [("title", title), ("tags", "garden \"hub:job=1\"")];
        fixture.upload(&fields, photo(&content(100))).await.unwrap();
    }
    let total = async |params: &[(&str, &str)]| {
        let answer = fixture.call("flickr.photos.search", params).await.unwrap();
        answer["photos"]["total"].as_u64().unwrap()
    };
    assert_eq!(total(&[("text", "bee")]).await, 2);
    assert_eq!(
        total(&[("user_id", "me"), ("machine_tags", "hub:job=1")]).await,
        3
    );
    assert_eq!(total(&[("tags", "nothing")]).await, 0);

    let page = fixture
        .call(
            "flickr.people.getPhotos",
            &[
                ("user_id", &fixture.user.user_nsid),
                ("per_page", "2"),
                ("page", "2"),
            ],
        )
        .await
        .unwrap();
    assert_eq!(page["photos"]["pages"], 2);
    assert_eq!(page["photos"]["photo"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_character_survives_the_signature_by_get_and_by_post() {
    let fixture = Fixture::start().await;
    let text = "a+b c&d=e%20~*'\"()é🐝\u{1}\n";
    for filler in ["", &"x".repeat(10_000)] {
        let params = [("text", text), ("odd name&", filler)];
        let echoed = fixture.call("flickr.test.echo", &params).await.unwrap();
        assert_eq!(echoed["text"]["_content"], text);
        assert_eq!(echoed["odd name&"]["_content"], filler);
    }
}

#[tokio::test]
async fn a_write_without_permission_is_refused() {
    let fixture = Fixture::start().await;
    let reader = token(&fixture.mock.add_user("reader", Permission::Read));
    let call = async |name, params: &[_]| fixture.call_as(Some(&reader), name, params).await;

    let error = call("flickr.photos.setMeta", &[("photo_id", "1"), ("title", "x")])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(99));
    assert_eq!(error.disposition(), Disposition::Permanent);
    assert!(error.needs_authorization());
    assert!(
        error
            .to_string()
            .contains("requires write privileges; read granted"),
        "{error}"
    );

    let writer = token(&fixture.mock.add_user("writer", Permission::Write));
    let deleted = fixture
        .call_as(Some(&writer), "flickr.photos.delete", &[("photo_id", "1")])
        .await;
    assert_eq!(deleted.unwrap_err().code(), Some(99));
    assert!(fixture.mock.log().iter().all(|entry| entry.effect_id.is_none()));
}

#[tokio::test]
async fn a_call_without_the_token_it_needs_is_not_sent() {
    let fixture = Fixture::start().await;
    let error = fixture.call_as(None, "flickr.test.login", &[]).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::TokenRequired);
    assert!(fixture.mock.log().is_empty());
    let open = fixture
        .call_as(None, "flickr.test.echo", &[("a", "b")])
        .await
        .unwrap();
    assert_eq!(open["stat"], "ok");
}

#[tokio::test]
async fn a_protocol_parameter_is_not_sent() {
    let fixture = Fixture::start().await;
    let error = fixture
        .call("flickr.test.echo", &[("oauth_token", "of another")])
        .await
        .unwrap_err();
    assert!(matches!(error.failure(), Failure::ReservedParameter { .. }));
    assert!(fixture.mock.log().is_empty());
}

/// Sends a signed call after `tamper` has changed its address; gives the answer's body.
async fn tampered(fixture: &Fixture, stamp: &Stamp, tamper: impl FnOnce(&mut Url)) -> String {
    let mut url: Url = format!(
        "{}/services/rest?method=flickr.test.login&format=json&nojsoncallback=1",
        fixture.mock.origin()
    )
    .parse()
    .unwrap();
    let signable = Signable {
        http_method: "GET",
        url: &url,
        body: &[],
        protocol: &[],
    };
    let header = authorization_header(&signable, &fixture.app, Some(&fixture.token), stamp);
    tamper(&mut url);
    let request = Client::new().get(url).header("authorization", header);
    request.send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_tampered_replayed_or_stale_request_is_refused() {
    let fixture = Fixture::start().await;
    let stamp = Stamp::now();
    let answer = tampered(&fixture, &stamp, |url| {
        url.query_pairs_mut().append_pair("extra", "1");
    });
    assert!(
        answer
            .await
            .starts_with("oauth_problem=signature_invalid&debug_sbs=GET&")
    );

    assert!(
        tampered(&fixture, &stamp, |_| {})
            .await
            .contains("\"stat\":\"ok\"")
    );
    assert_eq!(
        tampered(&fixture, &stamp, |_| {}).await,
        "oauth_problem=nonce_used"
    );

    let stale = Stamp {
        timestamp: stamp.timestamp - 3600,
        ..Stamp::now()
    };
    assert_eq!(
        tampered(&fixture, &stale, |_| {}).await,
        "oauth_problem=timestamp_refused"
    );
}

#[tokio::test]
async fn writes_change_things_and_reads_tell_so() {
    let fixture = Fixture::start().await;
    fixture
        .upload(&[("title", "before")], photo(&content(10)))
        .await
        .unwrap();
    let id = fixture.mock.photos()[0].id.clone();
    let photo_id = ("photo_id", id.as_str());

    let ok = async |name, params: &[_]| fixture.call(name, params).await.unwrap();
    ok(
        "flickr.photos.setMeta",
        &[photo_id, ("title", "after"), ("description", "ß")],
    )
    .await;
    ok("flickr.photos.addTags", &[photo_id, ("tags", "one two")]).await;
    let info = ok("flickr.photos.getInfo", &[photo_id]).await;
    assert_eq!(info["photo"]["title"]["_content"], "after");
    assert_eq!(info["photo"]["tags"]["tag"].as_array().unwrap().len(), 2);

    let set = ok(
        "flickr.photosets.create",
        &[("title", "set"), ("primary_photo_id", id.as_str())],
    )
    .await;
    let sets = ok("flickr.photosets.getList", &[]).await;
    assert_eq!(sets["photosets"]["photoset"][0]["id"], set["photoset"]["id"]);

    let other = token(&fixture.mock.add_user("other", Permission::Write));
    let favorite = async || {
        fixture
            .call_as(Some(&other), "flickr.favorites.add", &[photo_id])
            .await
    };
    favorite().await.unwrap();
    let again = favorite().await.unwrap_err();
    assert_eq!(again.code(), Some(3));
    assert!(again.is_already_done());

    ok("flickr.photos.delete", &[photo_id]).await;
    assert_eq!(
        fixture
            .call("flickr.photos.getInfo", &[photo_id])
            .await
            .unwrap_err()
            .code(),
        Some(1)
    );
    let person = ok("flickr.people.getInfo", &[("user_id", &fixture.user.user_nsid)]).await;
    assert_eq!(person["person"]["photos"]["count"]["_content"], 0);

    let effects: Vec<_> = fixture
        .mock
        .log()
        .iter()
        .filter_map(|entry| entry.effect_id)
        .collect();
    assert_eq!(effects, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn trace_headers_travel_along() {
    let fixture = Fixture::start().await;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceHeaders::new(Some(traceparent), Some("trace-7"));
    let echo = Method::lookup("flickr.test.echo").unwrap();
    fixture
        .client
        .call(&fixture.app, None, echo, &owned(&[]), &trace)
        .await
        .unwrap();
    let entry = fixture.last_entry();
    assert_eq!(entry.traceparent.as_deref(), Some(traceparent));
    assert_eq!(entry.trace_id.as_deref(), Some("trace-7"));
    assert_eq!(entry.consumer_key.as_deref(), Some("app-key"));
}

#[tokio::test]
async fn the_budget_of_an_application_is_enforced_for_all_its_users() {
    let fixture = Fixture::with(|builder| builder.requests_per_hour(2), crate::fixture::TIMEOUTS).await;
    fixture.call("flickr.test.login", &[]).await.unwrap();
    fixture.call_as(None, "flickr.test.echo", &[]).await.unwrap();
    let error = fixture.call("flickr.test.login", &[]).await.unwrap_err();
    assert_eq!(error.failure(), &Failure::RateLimited { retry_after: None });
}
