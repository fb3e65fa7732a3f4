//! Finding the bodies that nobody needs.
//!
//! Deleting one twice does no harm, so any number of processes may do it at once, and one that dies leaves the rest to
//! the next.

use bson::oid::ObjectId;
use bson::{Document, doc};
use futures::TryStreamExt;
use jiff::Timestamp;
use mongodb::Collection;
use serde::Deserialize;

use super::collections::CollectionName;
use super::error::within;
use super::{BodyStore, JobStore, StoreError};

/// Bodies that are fetched at a time.
const BATCH: u32 = 500;

#[derive(Deserialize)]
struct File {
    #[serde(rename = "_id")]
    id: ObjectId,
}

impl BodyStore {
    /// Deletes the bodies begun before `older_than` that no job needs ([`JobStore::needs_body`]), and the pieces of
    /// those that were never finished. Answers how many there were.
    ///
    /// `older_than` must leave an upload enough time to be received and its job to be stored: hours.
    pub async fn delete_orphans(&self, jobs: &JobStore, older_than: Timestamp) -> Result<u64, StoreError> {
        let old = first_id_of(older_than);
        let finished = self.delete_unneeded(jobs, old).await?;
        let unfinished = self.delete_unfinished(old).await?;
        Ok(finished + unfinished)
    }

    async fn delete_unneeded(&self, jobs: &JobStore, old: ObjectId) -> Result<u64, StoreError> {
        let files: Collection<File> = CollectionName::UploadFiles.of(&self.database);
        let find = files
            .find(doc! { "_id": { "$lt": old } })
            .projection(doc! { "_id": 1 })
            .batch_size(BATCH);
        let mut found = within(find).await?;
        let mut deleted = 0;
        while let Some(file) = within(found.try_next()).await? {
            if !jobs.needs_body(&file.id.to_hex()).await? {
                self.delete_file(file.id).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    async fn delete_unfinished(&self, old: ObjectId) -> Result<u64, StoreError> {
        let chunks: Collection<Document> = CollectionName::UploadChunks.of(&self.database);
        let search = chunks.aggregate(without_file(old)).with_type::<File>();
        let mut found = within(search).await?;
        let mut deleted = 0;
        while let Some(file) = within(found.try_next()).await? {
            self.delete_file(file.id).await?;
            deleted += 1;
        }
        Ok(deleted)
    }
}

/// The files that have chunks and no document of their own. Sorted, the groups come from the index alone.
fn without_file(old: ObjectId) -> [Document; 6] {
    [
        doc! { "$match": { "files_id": { "$lt": old } } },
        doc! { "$sort": { "files_id": 1 } },
        doc! { "$group": { "_id": "$files_id" } },
        doc! { "$lookup": {
            "from": CollectionName::UploadFiles.name(), "localField": "_id", "foreignField": "_id", "as": "file",
        } },
        doc! { "$match": { "file": { "$size": 0 } } },
        doc! { "$project": { "_id": 1 } },
    ]
}

/// The smallest id made at that second: an `ObjectId` begins with the seconds since 1970.
fn first_id_of(time: Timestamp) -> ObjectId {
    let seconds = u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX);
    ObjectId::from_parts(seconds, [0; 5], [0; 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_made_now_is_after_the_ids_of_the_past() {
        assert!(first_id_of(Timestamp::now() - jiff::SignedDuration::from_secs(2)) < ObjectId::new());
        assert!(first_id_of(Timestamp::now() + jiff::SignedDuration::from_secs(2)) > ObjectId::new());
        assert!(first_id_of(Timestamp::MIN) < first_id_of(Timestamp::MAX));
    }
}
