//! `/api/v1/callbacks`: what signs a client's callbacks, where they do not go any more, and what became of each try.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use flickrhub_job::callback::{TryOutcome, new_secret};
use flickrhub_job::model::{Job, JobId};
use flickrhub_job::store::{
    self, Delivery, DeliveryFilter, DeliveryList, DisabledEndpoint, EndpointId, RetryOutcome, Rotation,
};
use flickrhub_job::vault::TransitKey;
use flickrhub_job::view::JobView;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use crate::auth::{Authorised, CallbacksWrite, JobsRead};
use crate::callback_endpoint::refuse_disabled;
use crate::cursor::Cursor;
use crate::extract::{JsonBody, PathParam};
use crate::problem::{Problem, ProblemDocument};
use crate::state::AppState;
use crate::validate::{DeliveryQuery, EnableEndpoint, EndpointQuery, RotateSecret};

/// A new webhook secret.
#[derive(Serialize, ToSchema)]
pub struct NewSecret {
    /// The secret that signs first from now on. It is told this once and never again.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
    /// The secret before it signs too until then; null: it signs no more.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_valid_until: Option<Timestamp>,
}

/// Replace the webhook secret
///
/// Makes a new secret that signs callbacks and the return from an authorisation. Until `previous_valid_until` the secret
/// before it signs too, so that receivers can be given the new one one after the other. If a rotation is still running, its
/// older secret signs no more. The new secret cannot be shown again; if the answer is lost, rotate once more.
#[utoipa::path(
    post,
    path = "/api/v1/callbacks/secret/rotate",
    tag = "callbacks",
    request_body(content = Option<RotateSecret>, description = "May be absent."),
    responses(
        (status = 200, description = "The new secret.", body = NewSecret),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["callbacks:write"]))
)]
pub async fn rotate_secret(
    caller: Authorised<CallbacksWrite>,
    State(state): State<AppState>,
    body: Option<JsonBody<RotateSecret>>,
) -> Result<Json<NewSecret>, Problem> {
    let overlap = body
        .map(|JsonBody(wanted)| wanted)
        .unwrap_or_default()
        .validate()?;
    let (work, caller) = (state.clone(), caller.into_caller());
    state
        .to_the_end(async move {
            let data = work.data()?;
            let client_id = &caller.client_id;
            let stored = data.clients.webhook_secrets(client_id).await?;
            // The client was removed from the hub a moment ago.
            let stored = stored.ok_or(Problem::Unauthenticated)?;
            let secret = new_secret();
            let ciphertext = data
                .vault
                .encrypt(TransitKey::AppCredentials, client_id, &secret)
                .await?;
            let until = (!overlap.is_zero()).then(|| {
                let now = store::time::now();
                now.checked_add(overlap).unwrap_or(Timestamp::MAX)
            });
            let rotation = data
                .clients
                .rotate_webhook_secret(client_id, &stored.present, &ciphertext, until)
                .await?;
            let Rotation::Done(rotated) = rotation else {
                return Err(Problem::SecretRotatedMeanwhile);
            };
            tracing::info!(
                event = "webhook_secret_rotated",
                client_id,
                key_id = caller.key_id,
                overlap_seconds = overlap.as_secs(),
                "a webhook secret was replaced"
            );
            Ok(Json(NewSecret {
                secret: secret.expose_secret().to_owned(),
                previous_valid_until: rotated.previous.map(|previous| previous.valid_until),
            }))
        })
        .await
}

/// A callback address that is disabled.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisabledEndpointView {
    /// Names the address, to enable it.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    id: EndpointId,
    /// The address without its query, which may hold a secret and is not kept.
    #[schema(example = "https://example.com/hooks/flickr")]
    url: String,
    /// Why: `gone`, the receiver answered 410.
    #[schema(example = "gone")]
    reason: &'static str,
    /// The job whose callback was answered so.
    job_id: JobId,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    disabled_at: Timestamp,
    /// It is tried afresh after this time if nobody enables it before.
    #[schema(value_type = String, format = DateTime)]
    disabled_until: Timestamp,
}

impl From<DisabledEndpoint> for DisabledEndpointView {
    fn from(endpoint: DisabledEndpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url,
            reason: "gone",
            job_id: endpoint.job_id,
            disabled_at: endpoint.disabled_at,
            disabled_until: endpoint.disabled_until,
        }
    }
}

/// A page of disabled callback addresses.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndpointPage {
    /// In no order that means anything.
    endpoints: Vec<DisabledEndpointView>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// List disabled callback addresses
///
/// A receiver that answers 410 (Gone) gets no more callbacks at that address, and jobs that name it are refused.
#[utoipa::path(
    get,
    path = "/api/v1/callbacks/endpoints",
    tag = "callbacks",
    params(
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Addresses on a page, 50 without it.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The client's disabled addresses.", body = EndpointPage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn list_endpoints(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<EndpointPage>, Problem> {
    let query = EndpointQuery::parse(query.as_deref().unwrap_or_default())?;
    let after = query.cursor.map(|cursor| cursor.0);
    // One more than the page holds tells whether there is another page.
    let mut found = state
        .data()?
        .endpoints
        .list(&caller.client_id, after.as_ref(), query.limit + 1)
        .await?;
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    Ok(Json(EndpointPage {
        next_cursor: found
            .last()
            .filter(|_| more)
            .map(|last| Cursor(last.id.clone()).to_string()),
        endpoints: found.into_iter().map(DisabledEndpointView::from).collect(),
    }))
}

/// Enable a callback address
///
/// Callbacks go there again and jobs may name it; within five seconds everywhere. Callbacks that were given up meanwhile
/// stay so until each is retried.
#[utoipa::path(
    post,
    path = "/api/v1/callbacks/endpoints/enable",
    tag = "callbacks",
    request_body = EnableEndpoint,
    responses(
        (status = 204, description = "The address is enabled."),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["callbacks:write"]))
)]
pub async fn enable_endpoint(
    caller: Authorised<CallbacksWrite>,
    State(state): State<AppState>,
    JsonBody(wanted): JsonBody<EnableEndpoint>,
) -> Result<StatusCode, Problem> {
    let id = wanted.validate(&caller.client_id)?;
    if !state.data()?.endpoints.enable(&caller.client_id, &id).await? {
        return Err(Problem::EndpointNotDisabled);
    }
    tracing::info!(
        event = "callback_endpoint_enabled",
        client_id = caller.client_id,
        key_id = caller.key_id,
        "a callback address was enabled"
    );
    Ok(StatusCode::NO_CONTENT)
}

/// One try to deliver a callback.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    /// The job that the client was told of; also the header `webhook-id`.
    job_id: JobId,
    /// Where it went, without the query.
    #[schema(example = "https://example.com/hooks/flickr")]
    url: String,
    /// The number of the try, from 1; after a retry that the client asked for it begins at 1 again.
    attempt: u32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: u32,
    /// What it came to.
    outcome: TryOutcome,
    /// The status that the receiver answered, if it did.
    #[schema(example = 503)]
    status: Option<u16>,
    /// The next try is not before this time; null: there is none.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<Timestamp>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        Self {
            job_id: delivery.job_id,
            url: delivery.url,
            attempt: delivery.attempt,
            at: delivery.at,
            duration_ms: delivery.duration_ms,
            outcome: delivery.outcome,
            status: delivery.status,
            next_at: delivery.next_at,
        }
    }
}

/// A page of the delivery log.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryPage {
    /// Newest first.
    deliveries: Vec<DeliveryView>,
    /// Hand it back as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl From<DeliveryList> for DeliveryPage {
    fn from(list: DeliveryList) -> Self {
        Self {
            next_cursor: list
                .deliveries
                .last()
                .filter(|_| list.more)
                .map(|last| Cursor(last.id).to_string()),
            deliveries: list.deliveries.into_iter().map(DeliveryView::from).collect(),
        }
    }
}

/// List tries to deliver callbacks
///
/// The delivery log, for finding faults; an entry can be missing if the hub failed in that moment.
#[utoipa::path(
    get,
    path = "/api/v1/callbacks/deliveries",
    tag = "callbacks",
    params(
        ("outcome" = Option<TryOutcome>, Query, description = "Tries that came to this only."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Tries on a page, 50 without it.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The tries of all of the client's callbacks, newest first.", body = DeliveryPage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn list_deliveries(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryPage>, Problem> {
    let filter = filter(&caller.client_id, None, query.as_deref())?;
    Ok(Json(state.data()?.deliveries.list(&filter).await?.into()))
}

/// List tries to deliver the callback of a job
#[utoipa::path(
    get,
    path = "/api/v1/jobs/{id}/deliveries",
    tag = "callbacks",
    params(
        ("id" = String, Path, description = "The job.", format = Uuid),
        ("outcome" = Option<TryOutcome>, Query, description = "Tries that came to this only."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before."),
        ("limit" = Option<u32>, Query, description = "Tries on a page, 50 without it.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "The tries, newest first.", body = DeliveryPage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn list_job_deliveries(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    PathParam(id): PathParam<JobId>,
    RawQuery(query): RawQuery,
) -> Result<Json<DeliveryPage>, Problem> {
    let filter = filter(&caller.client_id, Some(id), query.as_deref())?;
    let data = state.data()?;
    let list = data.deliveries.list(&filter).await?;
    if list.deliveries.is_empty() {
        let job = data.jobs.get_in_brief(id).await?;
        job.filter(|job| job.client_id == caller.client_id)
            .ok_or(Problem::JobNotFound)?;
    }
    Ok(Json(list.into()))
}

fn filter(client_id: &str, job_id: Option<JobId>, query: Option<&str>) -> Result<DeliveryFilter, Problem> {
    let query = DeliveryQuery::parse(query.unwrap_or_default())?;
    Ok(DeliveryFilter {
        client_id: client_id.to_owned(),
        job_id,
        outcome: query.outcome,
        before: query.cursor.map(|cursor| cursor.0),
        limit: query.limit,
    })
}

/// Retry the callback of a job
///
/// Delivers a callback that was given up once more, with another day of tries.
#[utoipa::path(
    post,
    path = "/api/v1/jobs/{id}/callback/retry",
    tag = "callbacks",
    params(("id" = String, Path, description = "The job.", format = Uuid)),
    responses(
        (status = 202, description = "The job, whose callback is due.", body = JobView),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["callbacks:write"]))
)]
pub async fn retry_callback(
    caller: Authorised<CallbacksWrite>,
    State(state): State<AppState>,
    PathParam(id): PathParam<JobId>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let data = state.data()?;
    let job = data
        .jobs
        .get_for_client(&caller.client_id, id)
        .await?
        .ok_or(Problem::JobNotFound)?;
    let callback = job.callback.as_ref();
    let url = callback.and_then(|callback| Url::parse(&callback.url).ok());
    refuse_disabled(data, &caller.client_id, url.as_ref()).await?;
    match data.jobs.retry_callback_of(&caller.client_id, id).await? {
        // The callback alone changed; the result is not read twice.
        RetryOutcome::Due(due) => {
            let due = Job {
                callback: due.callback,
                ..job
            };
            Ok((StatusCode::ACCEPTED, Json(JobView::from(due))))
        }
        RetryOutcome::NotFailed(state) => Err(Problem::CallbackNotFailed(state)),
        RetryOutcome::NoCallback => Err(Problem::JobWithoutCallback),
        RetryOutcome::NotFound => Err(Problem::JobNotFound),
    }
}
