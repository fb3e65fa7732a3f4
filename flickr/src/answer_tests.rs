#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn raw(status: u16, body: &str) -> RawAnswer<'_> {
    RawAnswer {
        status,
        retry_after: None,
        body: body.as_bytes(),
    }
}

fn api(code: u32, message: &str) -> Failure {
    Failure::Api(ApiFailure::new(code, message))
}

const HTML: &str = "<!DOCTYPE html><html><body><h1>Sorry</h1><p>Slow down.</body></html>";
const PROBLEM: &str = "oauth_problem=token_rejected&debug_sbs=GET%26https%253A%252F%252Fsecret";

#[test]
fn a_rest_answer_is_its_json() {
    let found = rest(raw(200, r#"{"photos":{"total":0},"stat":"ok"}"#));
    assert_eq!(found, Ok(json!({"photos": {"total": 0}, "stat": "ok"})));
}

#[test]
fn a_rest_failure_is_its_code() {
    let body = r#"{"stat":"fail","code":105,"message":"Service currently unavailable"}"#;
    assert_eq!(
        rest(raw(200, body)),
        Err(api(105, "Service currently unavailable"))
    );
    assert_eq!(
        rest(raw(500, body)),
        Err(api(105, "Service currently unavailable"))
    );
    assert_eq!(rest(raw(200, r#"{"stat":"fail","code":"98"}"#)), Err(api(98, "")));
}

#[test]
fn the_header_tells_how_long_to_wait_unless_the_body_does() {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    let asked = |read: Failure| match read {
        Failure::Api(failure) => failure.wait,
        other => panic!("{other}"),
    };
    let answer = |body| RawAnswer {
        retry_after: wait(7),
        ..raw(503, body)
    };
    let json = r#"{"stat":"fail","code":105,"message":"Service currently unavailable"}"#;
    assert_eq!(asked(rest(answer(json)).unwrap_err()), wait(7));
    let text = "Sorry, the Flickr API service is not currently available";
    assert_eq!(asked(rest(answer(text)).unwrap_err()), wait(7));
    let xml = r#"<rsp stat="fail"><err code="105" msg=""/></rsp>"#;
    assert_eq!(asked(upload(answer(xml)).unwrap_err()), wait(7));
    let own = r#"<rsp stat="fail"><err code="14" msg="" non_pro_desktop_upload_wait_time="60"/></rsp>"#;
    assert_eq!(asked(upload(answer(own)).unwrap_err()), wait(60));
}

#[test]
fn debug_output_shows_no_body() {
    let shown = format!("{:?}", raw(200, "oauth_token_secret=hush"));
    assert!(shown.contains("200") && !shown.contains("hush"), "{shown}");
}

#[test]
fn an_oauth_problem_is_recognized_in_every_answer() {
    let expected = Failure::OAuth(OAuthProblem::TokenRejected);
    assert_eq!(rest(raw(401, PROBLEM)), Err(expected.clone()));
    assert_eq!(upload(raw(401, PROBLEM)), Err(expected.clone()));
    assert_eq!(form(raw(401, PROBLEM), ["oauth_token"]), Err(expected.clone()));
    assert_eq!(form(raw(200, PROBLEM), ["oauth_token"]), Err(expected));
}

#[test]
fn html_is_judged_by_its_status() {
    let http = |status| Failure::Http {
        status,
        retry_after: None,
    };
    assert_eq!(
        rest(raw(429, HTML)),
        Err(Failure::RateLimited { retry_after: None })
    );
    assert_eq!(rest(raw(502, HTML)), Err(http(502)));
    assert_eq!(upload(raw(502, HTML)), Err(http(502)));
    assert_eq!(form(raw(502, HTML), ["oauth_token"]), Err(http(502)));
    assert_eq!(
        rest(raw(200, HTML)),
        Err(Failure::Malformed {
            expected: "JSON object"
        })
    );
    assert_eq!(
        upload(raw(200, HTML)),
        Err(Failure::Malformed {
            expected: "XML <rsp>"
        })
    );
    assert_eq!(
        form(raw(200, HTML), ["oauth_token"]),
        Err(Failure::Malformed {
            expected: "form-encoded text"
        })
    );
}

#[test]
fn an_outage_told_in_plain_text_is_an_outage() {
    let body = "Sorry, the Flickr API service is not currently available";
    assert!(matches!(
        rest(raw(400, body)),
        Err(Failure::Api(ApiFailure { code: 0, .. }))
    ));
}

#[test]
fn an_upload_gives_a_photo_or_a_ticket() {
    let photo =
        "<?xml version=\"1.0\" encoding=\"utf-8\" ?>\n<rsp stat=\"ok\">\n<photoid>1234</photoid>\n</rsp>";
    assert_eq!(
        upload(raw(200, photo)),
        Ok(Uploaded::Photo(PhotoId("1234".into())))
    );
    let replaced = r#"<rsp stat="ok"><photoid secret="abcdef" originalsecret="ghi">1234</photoid></rsp>"#;
    assert_eq!(
        upload(raw(200, replaced)),
        Ok(Uploaded::Photo(PhotoId("1234".into())))
    );
    let ticket = r#"<rsp stat="ok"><ticketid>9-8</ticketid></rsp>"#;
    assert_eq!(
        upload(raw(200, ticket)),
        Ok(Uploaded::Ticket(TicketId("9-8".into())))
    );
}

#[test]
fn an_upload_failure_is_its_code() {
    let body = r#"<rsp stat="fail"><err code="5" msg="Filetype &quot;txt&quot; was not recognised" /></rsp>"#;
    assert_eq!(
        upload(raw(200, body)),
        Err(api(5, "Filetype \"txt\" was not recognised"))
    );
}

#[test]
fn details_of_an_upload_failure_are_found_as_attribute_or_element() {
    let attribute = r#"<rsp stat="fail"><err code="9" msg="Duplicate" duplicate_photo_id="77"/></rsp>"#;
    let element = r#"<rsp stat="fail"><err code="9" msg="Duplicate"/><duplicate_photo_id>77</duplicate_photo_id></rsp>"#;
    for body in [attribute, element] {
        let Err(Failure::Api(failure)) = upload(raw(200, body)) else {
            panic!("{body}")
        };
        assert_eq!(failure.duplicate_of, Some(PhotoId("77".into())));
    }
    let busy = r#"<rsp stat="fail"><err code="14" msg="" non_pro_desktop_upload_wait_time="60"/></rsp>"#;
    let Err(Failure::Api(failure)) = upload(raw(200, busy)) else {
        panic!()
    };
    assert_eq!(failure.wait, Some(Duration::from_mins(1)));
}

#[test]
fn a_truncated_upload_answer_is_malformed() {
    let malformed = Err(Failure::Malformed {
        expected: "XML <rsp>",
    });
    for body in [
        "",
        "<rsp stat=\"ok\"><photoid>12",
        "<rsp stat=\"ok\"/>",
        "<rsp><photoid>1</photoid></rsp>",
    ] {
        assert_eq!(upload(raw(200, body)), malformed, "{body}");
    }
}

#[test]
fn a_token_answer_is_its_fields() {
    let body = "oauth_callback_confirmed=true&oauth_token=7-a&oauth_token_secret=b%2Bc";
    assert_eq!(
        form(raw(200, body), ["oauth_token", "oauth_token_secret"]),
        Ok(["7-a".to_owned(), "b+c".to_owned()])
    );
    assert_eq!(
        form(raw(200, "oauth_token=7"), ["oauth_token", "oauth_token_secret"]),
        Err(Failure::Malformed {
            expected: "form-encoded text"
        })
    );
}

proptest! {
    /// Whatever the network brings, it is an answer or a typed failure.
    #[test]
    fn any_body_is_read(status in 100u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let answer = RawAnswer { status, retry_after: None, body: &body };
        let _ = rest(answer);
        let _ = upload(answer);
        let _ = form(answer, ["oauth_token"]);
    }

    #[test]
    fn any_message_survives_xml_escaping(message in "[ -~]{0,40}") {
        let escaped = quick_xml::escape::escape(message.as_str());
        let body = format!("<rsp stat=\"fail\"><err code=\"3\" msg=\"{escaped}\"/></rsp>");
        let Err(Failure::Api(failure)) = upload(raw(200, &body)) else { panic!("{body}") };
        prop_assert_eq!(failure.message, message);
    }
}
