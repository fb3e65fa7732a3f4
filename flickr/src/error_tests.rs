#![allow(clippy::unwrap_used)]

use Disposition::{OutcomeUnknown, Permanent, Retryable};

use super::*;
use crate::method::Method;

fn call(name: &str) -> Operation {
    Operation::Call(Method::lookup(name).unwrap())
}

fn api(operation: Operation, code: u32) -> FlickrError {
    FlickrError::new(operation, Failure::Api(ApiFailure::new(code, "said Flickr")))
}

#[test]
fn every_documented_code_of_every_method_has_its_disposition() {
    let mut transient_of_method = Vec::new();
    let mut unknown_of_method = Vec::new();
    let mut checked = 0;
    for method in Method::all() {
        for &code in &method.error_codes {
            let expected = match code {
                // Service unavailable; write failed for a temporary reason.
                105 | 106 => Retryable,
                // SSL, signature, login, permission, key, format, method, envelope, bad URL.
                95..=116 => Permanent,
                _ => {
                    let found = api(Operation::Call(method), code).disposition();
                    match found {
                        Retryable => transient_of_method.push((method.name, code)),
                        OutcomeUnknown => unknown_of_method.push((method.name, code)),
                        Permanent => {}
                    }
                    found
                }
            };
            let error = api(Operation::Call(method), code);
            assert_eq!(error.disposition(), expected, "{error}");
            assert_eq!(error.label(), code.to_string());
            checked += 1;
        }
    }
    assert_eq!(checked, 2887);
    assert_eq!(
        transient_of_method,
        [
            ("flickr.galleries.addPhoto", 5),
            ("flickr.galleries.create", 3),
            ("flickr.galleries.editMeta", 3),
            ("flickr.photos.comments.addComment", 9),
            ("flickr.photos.geo.correctLocation", 4),
            ("flickr.photos.geo.setLocation", 6),
            ("flickr.photos.notes.add", 6),
            ("flickr.photos.search", 10),
            ("flickr.photos.transform.rotate", 3),
            ("flickr.photos.transform.rotate", 4),
            ("flickr.photosets.comments.addComment", 9),
            ("flickr.places.placesForContacts", 1),
            ("flickr.places.placesForUser", 1),
            ("flickr.push.subscribe", 6),
            ("flickr.push.unsubscribe", 6),
            ("flickr.testimonials.addTestimonial", 2),
            ("flickr.testimonials.approveTestimonial", 4),
            ("flickr.testimonials.deleteTestimonial", 4),
            ("flickr.testimonials.editTestimonial", 4),
        ]
    );
    assert_eq!(
        unknown_of_method,
        [
            ("flickr.blogs.postPhoto", 4),
            ("flickr.testimonials.addTestimonial", 3),
        ]
    );
}

#[test]
fn every_documented_code_of_uploads_and_replacements_has_its_disposition() {
    for code in 0..=14 {
        let expected = if [0, 3, 14].contains(&code) {
            Retryable
        } else {
            Permanent
        };
        assert_eq!(
            api(Operation::Upload, code).disposition(),
            expected,
            "upload {code}"
        );
    }
    for code in 1..=8 {
        let expected = if code == 3 { Retryable } else { Permanent };
        assert_eq!(
            api(Operation::Replace, code).disposition(),
            expected,
            "replace {code}"
        );
    }
    for code in [96, 97, 98, 99, 100, 116] {
        assert_eq!(api(Operation::Upload, code).disposition(), Permanent);
    }
    assert_eq!(api(Operation::Upload, 105).disposition(), Retryable);
}

#[test]
fn an_outage_is_retryable_even_for_what_must_happen_once() {
    for code in [0, 105, 106, 201] {
        assert_eq!(
            api(call("flickr.photosets.create"), code).disposition(),
            Retryable
        );
    }
}

#[test]
fn oauth_problems_are_permanent_unless_a_new_signature_cures_them() {
    for (value, expected) in [
        ("token_rejected", Permanent),
        ("token_revoked", Permanent),
        ("signature_invalid", Permanent),
        ("consumer_key_unknown", Permanent),
        ("permission_denied", Permanent),
        ("verifier_invalid", Permanent),
        ("anything_else", Permanent),
        ("timestamp_refused", Retryable),
        ("nonce_used", Retryable),
        ("consumer_key_refused", Retryable),
    ] {
        let error = FlickrError::new(Operation::Upload, Failure::OAuth(OAuthProblem::from_value(value)));
        assert_eq!(error.disposition(), expected, "{value}");
    }
}

/// Rows: failure; then its disposition for a read, a repeatable write, an upload.
#[test]
fn a_failure_means_different_things_for_different_operations() {
    let http = |status| Failure::Http {
        status,
        retry_after: None,
    };
    let interrupted = |cause, sent| Failure::Interrupted { cause, sent };
    let table = [
        (Failure::Connect, [Retryable; 3]),
        (Failure::RateLimited { retry_after: None }, [Retryable; 3]),
        (interrupted(Interruption::Timeout, false), [Retryable; 3]),
        (
            interrupted(Interruption::Timeout, true),
            [Retryable, Retryable, OutcomeUnknown],
        ),
        (
            interrupted(Interruption::Connection, true),
            [Retryable, Retryable, OutcomeUnknown],
        ),
        (
            Failure::Malformed { expected: "JSON" },
            [Retryable, Retryable, OutcomeUnknown],
        ),
        (http(500), [Retryable, Retryable, OutcomeUnknown]),
        (http(502), [Retryable, Retryable, OutcomeUnknown]),
        (http(504), [Retryable, Retryable, OutcomeUnknown]),
        (http(503), [Retryable, Retryable, OutcomeUnknown]),
        (
            Failure::Http {
                status: 503,
                retry_after: Some(Duration::ZERO),
            },
            [Retryable; 3],
        ),
        (http(408), [Retryable; 3]),
        (http(404), [Permanent; 3]),
        (http(302), [Permanent; 3]),
        (
            Failure::AnswerTooLarge { limit: 1 },
            [Permanent, Permanent, OutcomeUnknown],
        ),
        (Failure::PhotoSource, [Retryable; 3]),
        (Failure::PhotoLength { declared: 1, read: 0 }, [Permanent; 3]),
        (Failure::TokenRequired, [Permanent; 3]),
        (Failure::Request, [Permanent; 3]),
    ];
    let operations = [
        call("flickr.photos.search"),
        Operation::Replace,
        Operation::Upload,
    ];
    for (failure, expected) in table {
        let found = operations.map(|operation| disposition(operation, &failure));
        assert_eq!(found, expected, "{failure}");
    }
}

#[test]
fn the_wait_that_flickr_asks_for_is_passed_on() {
    let wait = Some(Duration::from_secs(30));
    for failure in [
        Failure::RateLimited { retry_after: wait },
        Failure::Http {
            status: 503,
            retry_after: wait,
        },
        Failure::Api(ApiFailure {
            wait,
            ..ApiFailure::new(14, "")
        }),
    ] {
        assert_eq!(FlickrError::new(Operation::Upload, failure).retry_after(), wait);
    }
}

#[test]
fn labels_are_bounded() {
    let label = |failure| FlickrError::new(Operation::Upload, failure).label().into_owned();
    assert_eq!(label(Failure::Api(ApiFailure::new(4_000_000, ""))), "code_other");
    assert_eq!(
        label(Failure::OAuth(OAuthProblem::from_value("x y z"))),
        "oauth_unrecognized"
    );
    assert_eq!(
        label(Failure::Http {
            status: 502,
            retry_after: None
        }),
        "http_502"
    );
}

#[test]
fn what_is_so_already_is_recognized() {
    assert!(api(call("flickr.favorites.add"), 3).is_already_done());
    assert!(!api(call("flickr.favorites.add"), 1).is_already_done());
    assert!(!api(Operation::Upload, 3).is_already_done());
    assert!(!api(call("flickr.favorites.add"), 3).is_done_by_this_call());
}

#[test]
fn what_is_gone_already_is_recognized() {
    assert!(api(call("flickr.photos.delete"), 1).is_already_done());
    // No such note, and not: no right to delete it.
    assert!(api(call("flickr.photos.notes.delete"), 1).is_already_done());
    assert!(!api(call("flickr.photos.notes.delete"), 2).is_already_done());
}

#[test]
fn a_photo_put_into_a_queue_for_approval_is_done_at_the_first_attempt() {
    let queued = api(call("flickr.groups.pools.add"), 6);
    assert!(queued.is_done_by_this_call() && queued.is_already_done());
    // Somebody had queued it before.
    let before = api(call("flickr.groups.pools.add"), 7);
    assert!(!before.is_done_by_this_call() && before.is_already_done());
}

#[test]
fn only_a_refused_upload_names_the_photo_that_it_duplicates() {
    let refused = |operation, code| {
        let api = ApiFailure {
            duplicate_of: Some(PhotoId("5".to_owned())),
            ..ApiFailure::new(code, "Duplicate photo/video detected")
        };
        FlickrError::new(operation, Failure::Api(api))
            .duplicate_of()
            .map(|photo| photo.as_str().to_owned())
    };
    assert_eq!(refused(Operation::Upload, 9).as_deref(), Some("5"));
    assert_eq!(refused(Operation::Upload, 8), None);
    assert_eq!(refused(Operation::Replace, 9), None);
}
