//! The jobs of a client, page by page.
//!
//! A page shows what a client sees of each job, results included, and no parameters. A hundred results of 5 MiB would be
//! more than a process has memory, so a page ends after [`PAGE_BYTES`] too; the rest is on the next one.

use bson::{Document, RawDocumentBuf, doc};
use futures::TryStreamExt;

use super::error::within;
use super::{JobStore, StoreError, id};
use crate::model::{Job, JobId, JobState};
use crate::queue::Queue;
use crate::view::JobView;

/// What the jobs of one page may have together, in bytes as they are stored. A job that has more is a page by itself.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Which jobs of a client to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFilter {
    /// Only the jobs of this client.
    pub client_id: String,
    /// Only the jobs of this user.
    pub user_id: Option<String>,
    /// Only the jobs in this state.
    pub state: Option<JobState>,
    /// Only the jobs of this queue.
    pub queue: Option<Queue>,
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
    fn document(&self) -> Document {
        let mut document = doc! { "client_id": &self.client_id };
        if let Some(user_id) = &self.user_id {
            document.insert("user_id", user_id);
        }
        if let Some(state) = self.state {
            document.insert("state", state.name());
        }
        if let Some(queue) = self.queue {
            document.insert("queue", queue.name());
        }
        if let Some(before) = self.before {
            document.insert("_id", doc! { "$lt": id::to_bson(before) });
        }
        document
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
