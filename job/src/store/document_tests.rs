//! A job as a document: whatever it holds is read back.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{finished_job, queued_job};
use super::{id, time};
use crate::model::{Body, Job, JobError, JobState};

fn read_back(job: &Job) -> Option<Job> {
    let bytes = bson::serialize_to_vec(job).ok()?;
    bson::deserialize_from_slice(&bytes).ok()
}

fn document(job: &Job) -> Document {
    bson::serialize_to_document(job).unwrap_or_default()
}

proptest! {
    #[test]
    fn names_and_values_of_parameters_are_read_back(
        params in prop::collection::btree_map(
            prop_oneof![Just("$oid".to_owned()), Just("$date".to_owned()), Just("a.b".to_owned()), "[^\0]{0,8}"],
            ".{0,16}",
            0..8,
        ),
    ) {
        let job = Job { params, ..queued_job() };
        prop_assert_eq!(read_back(&job), Some(job));
    }

    #[test]
    fn numbers_are_read_back(attempt in any::<u32>(), tries in any::<u32>(), length in 0..=i64::MAX.unsigned_abs(), code in any::<i64>()) {
        let job = Job {
            attempt,
            tries,
            body: Some(Body {
                file_id: "0123456789abcdef01234567".to_owned(),
                length,
                file_name: "lighthouse.jpg".to_owned(),
                content_type: "image/jpeg".to_owned(),
            }),
            error: Some(JobError {
                code: "flickr_error".to_owned(),
                message: String::new(),
                flickr_code: Some(code),
            }),
            ..queued_job()
        };
        prop_assert_eq!(read_back(&job), Some(job));
    }
}

#[test]
fn a_finished_job_is_read_back() {
    for state in JobState::ALL {
        let job = Job {
            result: Some(
                json!({ "photos": { "total": 18_446_744_073_709_551_615_u64, "$set": {}, "a.b": null } }),
            ),
            ..finished_job(state)
        };
        assert_eq!(read_back(&job), Some(job));
    }
}

#[test]
fn a_field_that_this_version_does_not_know_is_no_hindrance() {
    let job = queued_job();
    let mut stored = document(&job);
    stored.insert("purge_at", time::to_bson(Timestamp::UNIX_EPOCH));
    assert_eq!(bson::deserialize_from_document(stored).ok(), Some(job));
}

#[test]
fn a_job_that_is_read_without_its_content_has_none() {
    let job = Job {
        result: Some(Value::Null),
        ..queued_job()
    };
    let mut stored = document(&job);
    for field in ["params", "result"] {
        stored.remove(field);
    }
    let expected = Job {
        params: BTreeMap::new(),
        result: None,
        ..job
    };
    assert_eq!(bson::deserialize_from_document(stored).ok(), Some(expected));
}

#[test]
fn a_job_without_a_count_of_tries_has_none_yet() {
    let job = queued_job();
    let mut stored = document(&job);
    stored.remove("tries");
    assert_eq!(bson::deserialize_from_document(stored).ok(), Some(job));
}

#[test]
fn the_document_has_the_types_that_filters_and_indexes_compare() {
    let job = Job {
        result: Some(Value::Null),
        ..queued_job()
    };
    let stored = document(&job);
    let expected = doc! {
        "_id": id::to_bson(job.id),
        "state": "queued",
        "queue": "flickr_rest",
        "available_at": time::to_bson(job.available_at),
        "lease_until": Bson::Null,
        "finished_at": Bson::Null,
        "result": "null",
    };
    for (field, value) in expected {
        assert_eq!(stored.get(&field), Some(&value), "{field}");
    }
}

#[test]
fn a_name_with_nul_is_refused_before_it_is_sent() {
    let job = Job {
        params: BTreeMap::from([("a\0b".to_owned(), String::new())]),
        ..queued_job()
    };
    assert!(bson::serialize_to_raw_document_buf(&job).is_err());
}
