//! A guarded change of one job, alone: `findAndModify`.

use bson::Document;
use mongodb::Collection;
use mongodb::options::{ReturnDocument, UpdateModifications};

use super::StoreError;
use super::error::within;
use crate::model::Job;

/// Changes the job that `filter` matches; its document afterwards, with the `fields` asked for. `None`: the guard did not
/// hold.
pub(super) async fn change(
    jobs: &Collection<Job>,
    filter: Document,
    update: impl Into<UpdateModifications>,
    fields: Document,
) -> Result<Option<Job>, StoreError> {
    let change = jobs
        .find_one_and_update(filter, update)
        .projection(fields)
        .return_document(ReturnDocument::After);
    within(change).await
}
