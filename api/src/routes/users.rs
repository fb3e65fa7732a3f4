//! `/api/v1/users`: the Flickr users that authorised the client.

use axum::extract::State;
use axum::http::StatusCode;

use flickrhub_job::cache::Invalidation;

use crate::auth::{Authorised, UsersWrite};
use crate::extract::PathParam;
use crate::problem::{Problem, ProblemDocument};
use crate::state::AppState;

/// Forget a user
///
/// Takes the client's right to act for the user. The token is deleted when no other client has that right; the user can
/// withdraw it at Flickr too. Jobs that were accepted before and have not begun by then fail.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{user_id}/token",
    tag = "users",
    params(("user_id" = String, Path, description = "The Flickr user (NSID).", example = "12037949754@N01")),
    responses(
        (status = 204, description = "The client can no longer act for the user."),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["users:write"]))
)]
pub async fn remove_token(
    caller: Authorised<UsersWrite>,
    State(state): State<AppState>,
    PathParam(user_id): PathParam<String>,
) -> Result<StatusCode, Problem> {
    let (work, caller) = (state.clone(), caller.into_caller());
    state
        .to_the_end(async move {
            let removed = work
                .data()?
                .users
                .remove_token(&user_id, &caller.client_id)
                .await?;
            if !removed {
                return Err(Problem::UserNotFound);
            }
            if let Err(error) = work.data()?.cache.invalidate(Invalidation::User(&user_id)).await {
                tracing::warn!(%error, "cached answers of the user stay until they age out");
            }
            tracing::info!(
                event = "user_removed",
                user_id,
                client_id = caller.client_id,
                "authorisation removed"
            );
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}
