//! Many jobs in one request.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::JobSubmission;
use crate::extract::parse_json;
use crate::problem::Problem;

/// The most jobs in a batch.
pub const MAX_BATCH: usize = 1000;

/// Jobs, each of which is accepted or refused by itself.
#[derive(Debug, serde::Deserialize, ToSchema)]
#[serde(expecting = "a JSON object", deny_unknown_fields)]
pub struct BatchSubmission {
    /// 1 to 1,000 jobs, each as in `POST /api/v1/jobs`.
    #[schema(value_type = Vec<JobSubmission>, min_items = 1, max_items = 1000)]
    jobs: Items,
}

impl BatchSubmission {
    /// The jobs, each still to be checked.
    ///
    /// # Errors
    /// [`Problem::BatchSize`].
    pub fn items(self) -> Result<Vec<BatchItem>, Problem> {
        if self.jobs.count == self.jobs.items.len() && self.jobs.count > 0 {
            Ok(self.jobs.items)
        } else {
            Err(Problem::BatchSize {
                jobs: self.jobs.count,
            })
        }
    }
}

/// One job of a batch, as it was written.
#[derive(Debug)]
pub struct BatchItem(Box<RawValue>);

impl BatchItem {
    /// Reads it as a job that was submitted alone.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`].
    pub fn submission(&self) -> Result<JobSubmission, Problem> {
        parse_json(self.0.get().as_bytes())
    }
}

/// The first [`MAX_BATCH`] items and how many there are: a body can hold a million, and they are not worth the memory.
#[derive(Debug)]
struct Items {
    items: Vec<BatchItem>,
    count: usize,
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX_BATCH {
                    match list.next_element()? {
                        Some(item) => items.push(BatchItem(item)),
                        None => break,
                    }
                }
                let mut count = items.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Items { items, count })
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_job::callback::AddressPolicy;

    use super::*;

    fn batch(text: &str) -> Result<Vec<BatchItem>, Problem> {
        parse_json::<BatchSubmission>(text.as_bytes())?.items()
    }

    #[test]
    fn each_item_is_checked_by_itself() {
        let text = "{\"jobs\": [{\"user_id\": \"12@N01\", \"method\": \"flickr.test.login\"}, 5,
            {\"user_id\": \"12@N01\", \"user_id\": \"13@N01\"}, {\"user_id\": \"12@N01\", \"method\": \"upload\"}]}";
        let items = batch(text).unwrap_or_else(|problem| panic!("{problem:?}"));
        let policy = AddressPolicy::new(Vec::new());
        let wrong = |item: &BatchItem| {
            let outcome = item.submission().and_then(|job| job.validate(&policy));
            let errors = outcome.map_or_else(|problem| problem.errors(), |_| Vec::new());
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        let fields: Vec<_> = items.iter().map(wrong).collect();
        assert_eq!(fields, [vec![], vec!["body"], vec!["user_id"], vec!["method"]]);
    }

    #[test]
    fn a_batch_has_at_least_one_job_and_at_most_a_thousand() {
        let of = |count: usize| batch(&format!("{{\"jobs\": [{}]}}", vec!["{}"; count].join(",")));
        for (count, fits) in [(0, false), (1, true), (MAX_BATCH, true)] {
            assert_eq!(of(count).is_ok(), fits, "{count}");
        }
        for count in [MAX_BATCH + 1, 100_000] {
            assert_eq!(of(count).err(), Some(Problem::BatchSize { jobs: count }));
        }
    }

    #[test]
    fn a_batch_of_another_shape_is_told_what_is_wrong() {
        for (text, field, message) in [
            ("{}", "jobs", "is missing"),
            ("[]", "body", "is a JSON object"),
            ("{\"jobs\": {}}", "jobs", "is a JSON array"),
            ("{\"jobs\": [], \"job\": 1}", "job", "is not a field of this body"),
            ("{\"jobs\": [], \"jobs\": []}", "jobs", "is given twice"),
        ] {
            assert_eq!(batch(text).err(), Some(Problem::field(field, message)), "{text}");
        }
        assert!(matches!(
            batch("{\"jobs\": [{\"a\": }]}"),
            Err(Problem::InvalidJson { .. })
        ));
    }
}
