//! How many jobs each worker runs, from MongoDB: a worker claims each of its jobs there, under the name of its pod.

use std::collections::BTreeMap;
use std::time::Duration;

use flickrhub_job::config::Login;
use flickrhub_job::store::CollectionName;
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use tokio::time::timeout;

use crate::engine::hub_database::{self, ConnectError};
use crate::names::MONGODB_DATABASE;
use crate::validate::ValidatedHub;

/// How long the answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// MongoDB does not say what the workers run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunningError {
    /// There is no way into MongoDB.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// MongoDB refused, or did not answer.
    // The driver's text can hold the whole answer of the server, its kind alone says enough.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] mongodb::error::Error),
    /// MongoDB did not answer in time.
    #[error("MongoDB did not answer in {} s", TIMEOUT.as_secs())]
    TimedOut,
}

/// The running jobs of every worker that has any, by the name of its pod. As many documents are read as jobs run, by an index
/// of the unfinished ones.
pub(super) async fn running(
    hub: &ValidatedHub,
    login: &Login,
) -> Result<BTreeMap<String, u64>, RunningError> {
    let client = hub_database::connect(hub, login)?;
    let counted = timeout(TIMEOUT, count(&client)).await;
    client.shutdown().await;
    counted.map_err(|_| RunningError::TimedOut)?
}

async fn count(client: &mongodb::Client) -> Result<BTreeMap<String, u64>, RunningError> {
    let jobs = client
        .database(MONGODB_DATABASE)
        .collection::<Document>(CollectionName::Jobs.name());
    let groups: Vec<Document> = jobs
        .aggregate([
            doc! { "$match": { "finished_at": null, "state": "running" } },
            doc! { "$group": { "_id": "$trail.worker", "jobs": { "$sum": 1 } } },
        ])
        .await?
        .try_collect()
        .await?;
    Ok(groups.iter().filter_map(worker).collect())
}

fn worker(group: &Document) -> Option<(String, u64)> {
    let jobs = match group.get("jobs")? {
        Bson::Int32(jobs) => u64::try_from(*jobs).ok()?,
        Bson::Int64(jobs) => u64::try_from(*jobs).ok()?,
        _ => return None,
    };
    Some((group.get_str("_id").ok()?.to_owned(), jobs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_the_name_of_a_worker_counts_for_none() {
        let read = |id: Bson| worker(&doc! { "_id": id, "jobs": 3 });
        assert_eq!(read("worker-1".into()), Some(("worker-1".to_owned(), 3)));
        assert_eq!(read(Bson::Null), None);
    }
}
