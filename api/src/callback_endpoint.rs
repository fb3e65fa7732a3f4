//! Whether callbacks may still go to an address: not after it answered 410.

use flickrhub_job::store::EndpointStore;
use url::Url;

use crate::data_tier::DataTier;
use crate::problem::Problem;

/// Refuses an address that is disabled for the client. Costs a question to MongoDB once in five seconds for each client:
/// see [`EndpointStore::is_disabled`].
///
/// # Errors
/// [`Problem::CallbackDisabled`], or when MongoDB fails.
pub async fn refuse_disabled(data: &DataTier, client_id: &str, url: Option<&Url>) -> Result<(), Problem> {
    let endpoints: &EndpointStore = &data.endpoints;
    match url {
        Some(url) if endpoints.is_disabled(client_id, url).await? => Err(Problem::CallbackDisabled),
        _ => Ok(()),
    }
}
