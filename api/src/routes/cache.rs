//! `/api/v1/cache`: answers that are kept.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use flickrhub_flickr::Permission;
use flickrhub_job::cache::Invalidation;

use crate::auth::{Authorised, JobsWrite, ScopeName};
use crate::authorisation::authorised_user;
use crate::problem::{Problem, ProblemDocument};
use crate::state::AppState;
use crate::validate::InvalidationQuery;

/// Forget cached answers
///
/// From now on no answer is given that Flickr gave before: of a user, of a method, or of both together. What one client
/// invalidates counts for every client that acts for the same user. A method without a user concerns every user of the hub,
/// so that needs the scope `admin`.
#[utoipa::path(
    post,
    path = "/api/v1/cache/invalidate",
    tag = "cache",
    params(
        ("user_id" = Option<String>, Query, description = "Of this user (NSID); must have authorised the client.", example = "12037949754@N01"),
        ("method" = Option<String>, Query, description = "Of this method.", example = "flickr.photos.search"),
    ),
    responses(
        (status = 204, description = "They are forgotten."),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:write"]))
)]
pub async fn invalidate(
    caller: Authorised<JobsWrite>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    let query = InvalidationQuery::parse(query.as_deref().unwrap_or_default())?;
    let data = state.data()?;
    let what = match &query {
        InvalidationQuery::User(user) => Invalidation::User(user),
        InvalidationQuery::Method(method) => Invalidation::Method(method),
        InvalidationQuery::Both { user_id, method } => Invalidation::Both {
            user: user_id,
            method,
        },
    };
    match &query {
        InvalidationQuery::User(user_id) | InvalidationQuery::Both { user_id, .. } => {
            authorised_user(&data.users, &caller, user_id, Permission::None, "user_id").await?;
        }
        InvalidationQuery::Method(_) if !caller.may(ScopeName::Admin) => {
            return Err(Problem::ScopeMissing(ScopeName::Admin));
        }
        InvalidationQuery::Method(_) => {}
    }
    data.cache.invalidate(what).await?;
    tracing::info!(
        event = "cache_invalidated",
        client_id = caller.client_id,
        ?query,
        "cached answers are forgotten"
    );
    Ok(StatusCode::NO_CONTENT)
}
