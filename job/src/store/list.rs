//! The jobs of a client, page by page.
//!
//! Pages are ordered by id, and the next one begins after the last id of the one before. An id is for ever, whatever happens
//! to its job: while jobs move between pages none is shown twice, and none is left out for the moves of others. A filter on
//! the state shows of each job the state at the moment that its page is read.
//!
//! A page shows what a client sees of each job, results included, and no parameters. A hundred results of 5 MiB would be
//! more than a process has memory, so a page ends after [`PAGE_BYTES`] too; the rest is on the next one.

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};

use super::error::within;
use super::time::to_bson;
use super::{JobStore, StoreError, id};
use crate::model::{Job, JobId, JobState};
use crate::queue::Queue;
use crate::view::JobView;

/// What the jobs of one page may have together, in bytes as they are stored. A job that has more is a page by itself.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How far the clock that made the id of a job may be from the one that noted when it was accepted.
const ID_TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// Which jobs of a client to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only the jobs of this client.
    pub client_id: String,
    /// Only the jobs of this user.
    pub user_id: Option<String>,
    /// Only the jobs in this state.
    pub state: Option<JobState>,
    /// Only the jobs of this queue.
    pub queue: Option<Queue>,
    /// Only the jobs that call this method, or `upload` or `replace`.
    pub method: Option<String>,
    /// Only jobs accepted at this time or later.
    pub created_after: Option<Timestamp>,
    /// Only jobs accepted before this time.
    pub created_before: Option<Timestamp>,
    /// Only jobs accepted before this one: the last job of the page before.
    pub before: Option<JobId>,
    /// At most so many, at least one; fewer where they are large.
    pub limit: u32,
}

/// A page of a client's jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobList {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl JobStore {
    /// The jobs of a client, newest first.
    ///
    /// # Errors
    /// Also when one of the jobs cannot be read: a page with a gap would pass for the whole.
    pub async fn list(&self, filter: &JobFilter) -> Result<JobList, StoreError> {
        if filter.matches_nothing() {
            return Ok(JobList::default());
        }
        let limit = filter.limit.max(1);
        let jobs = self.jobs.clone_with_type::<RawDocumentBuf>();
        let find = jobs
            .find(filter.document())
            .sort(doc! { "_id": -1 })
            .projection(doc! { "params": 0 })
            // One more than the page holds tells whether there is another page.
            .limit(i64::from(limit) + 1);
        let mut found = within(find).await?;
        let mut room = Room {
            jobs: limit,
            bytes: PAGE_BYTES,
        };
        let mut list = JobList::default();
        while let Some(document) = within(found.try_next()).await? {
            let bytes = document.as_bytes();
            if !room.takes(bytes.len()) {
                list.more = true;
                break;
            }
            let job: Job = bson::deserialize_from_slice(bytes)
                .map_err(|error| StoreError::Unreadable(error.to_string()))?;
            list.jobs.push(JobView::from(job));
        }
        Ok(list)
    }
}

/// What a page has room for.
struct Room {
    jobs: u32,
    bytes: usize,
}

impl Room {
    /// Whether a job of this size has its place on the page, which it then takes. The first one always has.
    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.jobs > 0 && self.bytes > 0;
        self.jobs = self.jobs.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        takes
    }
}

impl JobFilter {
    /// Whether no job can be as asked for, because the method is one of another queue. MongoDB would look at every job of the
    /// method to find that out.
    pub fn matches_nothing(&self) -> bool {
        let of_method = self.method.as_deref().map(Queue::of_method);
        matches!((of_method, self.queue), (Some(one), Some(other)) if one != other)
    }

    /// The filter as MongoDB reads it, where it does not [match nothing](JobFilter::matches_nothing).
    pub fn document(&self) -> Document {
        let mut document = doc! { "client_id": &self.client_id };
        if let Some(user_id) = &self.user_id {
            document.insert("user_id", user_id);
        }
        if let Some(state) = self.state {
            document.insert("state", state.name());
            if !state.is_final() {
                // What the partial index of unfinished jobs is made of.
                document.insert("finished_at", Bson::Null);
            }
        }
        match (&self.method, self.queue) {
            // It says what the queue is, and has an index of its own.
            (Some(method), _) => document.insert("method", method),
            (None, Some(queue)) => document.insert("queue", queue.name()),
            // Naming every queue lets the index that begins with client and queue serve, merged in the order of ids.
            (None, None) => document.insert(
                "queue",
                doc! { "$in": Bson::from(Queue::ALL.map(Queue::name).as_slice()) },
            ),
        };
        let ids = self.ids();
        if !ids.is_empty() {
            document.insert("_id", ids);
        }
        let mut created = Document::new();
        if let Some(after) = self.created_after {
            created.insert("$gte", to_bson(after));
        }
        if let Some(before) = self.created_before {
            created.insert("$lt", to_bson(before));
        }
        if !created.is_empty() {
            document.insert("created_at", created);
        }
        document
    }

    /// The range of ids. Ids begin with the time of acceptance, so that a range of times is read from the index too.
    fn ids(&self) -> Document {
        let latest = self.created_before.map(|time| {
            let bound = time.checked_add(ID_TOLERANCE).unwrap_or(Timestamp::MAX);
            JobId::first_at(bound)
        });
        let mut ids = Document::new();
        if let Some(before) = [self.before, latest].into_iter().flatten().min() {
            ids.insert("$lt", id::to_bson(before));
        }
        if let Some(time) = self.created_after {
            let bound = time.checked_sub(ID_TOLERANCE).unwrap_or(Timestamp::MIN);
            ids.insert("$gte", id::to_bson(JobId::first_at(bound)));
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(limit: u32, sizes: &[usize]) -> usize {
        let mut room = Room {
            jobs: limit,
            bytes: PAGE_BYTES,
        };
        sizes.iter().take_while(|size| room.takes(**size)).count()
    }

    #[test]
    fn small_jobs_fill_a_page_to_its_limit() {
        assert_eq!(page(3, &[1000; 10]), 3);
        assert_eq!(page(3, &[1000; 2]), 2);
    }

    #[test]
    fn large_jobs_end_a_page_sooner() {
        assert_eq!(page(100, &[5 * 1024 * 1024; 10]), 2);
        assert_eq!(page(100, &[16 * 1024 * 1024; 10]), 1);
    }

    #[test]
    fn a_method_stands_for_its_queue_and_no_job_has_that_of_another() {
        let of = |method: &str, queue| JobFilter {
            method: Some(method.to_owned()),
            queue,
            ..JobFilter::default()
        };
        let (call, upload) = ("flickr.photos.search", "upload");
        for filter in [
            of(call, None),
            of(call, Some(Queue::Rest)),
            of(upload, Some(Queue::Upload)),
        ] {
            assert!(!filter.matches_nothing(), "{filter:?}");
            let document = filter.document();
            assert_eq!(document.get_str("method").ok(), filter.method.as_deref());
            assert!(!document.contains_key("queue"), "{document}");
        }
        for filter in [of(call, Some(Queue::Upload)), of(upload, Some(Queue::Rest))] {
            assert!(filter.matches_nothing(), "{filter:?}");
        }
        let of_queue = JobFilter {
            queue: Some(Queue::Rest),
            ..JobFilter::default()
        };
        assert!(!of_queue.matches_nothing() && !JobFilter::default().matches_nothing());
    }

    #[test]
    fn a_cursor_and_a_time_bound_the_ids_by_the_earlier_of_the_two() {
        let now = Timestamp::now();
        let cursor = JobId::first_at(now);
        let bound = |created_before| {
            let filter = JobFilter {
                created_before: Some(created_before),
                before: Some(cursor),
                ..JobFilter::default()
            };
            filter.ids().get("$lt").cloned()
        };
        assert_eq!(bound(now), Some(Bson::from(id::to_bson(cursor))));
        let hour = SignedDuration::from_hours(1);
        let earlier = JobId::first_at(now - hour + ID_TOLERANCE);
        assert_eq!(bound(now - hour), Some(Bson::from(id::to_bson(earlier))));
    }

    proptest! {
        #[test]
        fn a_page_makes_progress_and_is_never_much_larger_than_it_may_be(
            limit in 1..200_u32, sizes in prop::collection::vec(1..16 * 1024 * 1024_usize, 1..200),
        ) {
            let shown = page(limit, &sizes);
            prop_assert!(shown >= 1);
            prop_assert!(sizes.iter().take(shown - 1).sum::<usize>() < PAGE_BYTES);
        }
    }
}
