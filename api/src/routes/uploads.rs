//! Photos: `/api/v1/uploads` and `/api/v1/photos/{photo_id}/replace`.

use std::sync::Arc;

use axum::extract::{Request, State};
use flickrhub_flickr::Permission;
use flickrhub_job::fail_point;
use flickrhub_job::model::TraceContext;
use flickrhub_job::queue::Queue;
use flickrhub_job::view::JobView;
use utoipa::ToSchema;

use super::accepted::Accepted;
use crate::accept::{NotAccepted, Receipt, accept, now};
use crate::auth::{Authorised, Caller, UploadsWrite};
use crate::authorisation::authorised_user;
use crate::callback_endpoint::refuse_disabled;
use crate::extract::PathParam;
use crate::idempotency::{IdempotencyKey, Idempotent};
use crate::middleware::trace::Traced;
use crate::order::Order;
use crate::problem::{Problem, ProblemDocument};
use crate::state::AppState;
use crate::upload::{Received, UploadAdmission, check_headers, discard, receive};
use crate::validate::{USER_PART, UploadFields, UploadKind};

/// The form of an upload, for the OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a multipart form is read part by part, never as a whole")]
pub struct UploadForm {
    /// The photo or video: JPEG, PNG, GIF, TIFF, WebP, HEIC, MP4, MOV, 3GP, AVI, WMV, MPEG, M2TS or OGG. Comes after
    /// `user_id`.
    #[schema(value_type = String, format = Binary)]
    photo: Vec<u8>,
    /// The Flickr user (NSID); must have authorised the client.
    #[schema(example = "12037949754@N01")]
    user_id: String,
    /// The title of the photo.
    title: Option<String>,
    /// Its description; may hold some HTML.
    description: Option<String>,
    /// Its tags, separated by spaces.
    tags: Option<String>,
    /// Whether everybody may see it.
    #[schema(pattern = "^[01]$")]
    is_public: Option<String>,
    /// Whether friends may see it.
    #[schema(pattern = "^[01]$")]
    is_friend: Option<String>,
    /// Whether family may see it.
    #[schema(pattern = "^[01]$")]
    is_family: Option<String>,
    /// 1 safe, 2 moderate, 3 restricted.
    #[schema(pattern = "^[123]$")]
    safety_level: Option<String>,
    /// 1 photo, 2 screenshot, 3 other.
    #[schema(pattern = "^[123]$")]
    content_type: Option<String>,
    /// 1 found by searches, 2 hidden from them.
    #[schema(pattern = "^[12]$")]
    hidden: Option<String>,
    /// `high`, `normal` or `low`: the order among the user's other jobs.
    priority: Option<String>,
    /// Where to deliver the finished job (Standard Webhooks); https.
    callback_url: Option<String>,
    /// Seconds after which the job is not started any more: 1 to 604800.
    expires_in: Option<String>,
}

/// The form of a replacement, for the OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a multipart form is read part by part, never as a whole")]
pub struct ReplaceForm {
    /// The new photo. Comes after `user_id`.
    #[schema(value_type = String, format = Binary)]
    photo: Vec<u8>,
    /// The Flickr user (NSID) whose photo it is; must have authorised the client.
    #[schema(example = "12037949754@N01")]
    user_id: String,
    /// `high`, `normal` or `low`: the order among the user's other jobs.
    priority: Option<String>,
    /// Where to deliver the finished job (Standard Webhooks); https.
    callback_url: Option<String>,
    /// Seconds after which the job is not started any more: 1 to 604800.
    expires_in: Option<String>,
}

/// Upload a photo
///
/// The photo is stored before the answer is sent. `user_id` must come before the photo, and the other fields should.
#[utoipa::path(
    post,
    path = "/api/v1/uploads",
    tag = "uploads",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to send again; 1 to 255 visible ASCII characters. `X-Idempotency-Key` does too.")),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "Accepted.", body = JobView,
            headers(
                ("Location" = String, description = "The address of the job."),
                ("Idempotent-Replayed" = Option<bool>, description = "True where the job was accepted for an earlier request with the same key."),
                ("RateLimit-Policy" = String, description = "The rates that limit the submission."),
                ("RateLimit" = String, description = "What is left of the tightest rate."),
            )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["uploads:write"]))
)]
pub async fn upload(
    caller: Authorised<UploadsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    Idempotent(key): Idempotent,
    request: Request,
) -> Result<Accepted, Problem> {
    let sender = Sender {
        caller: caller.into_caller(),
        trace,
        key,
    };
    run(&state, sender, UploadKind::New, request).await
}

/// Replace the content of a photo
#[utoipa::path(
    post,
    path = "/api/v1/photos/{photo_id}/replace",
    tag = "uploads",
    params(
        ("photo_id" = String, Path, description = "The photo at Flickr.", example = "53000000001"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to send again; 1 to 255 visible ASCII characters. `X-Idempotency-Key` does too."),
    ),
    request_body(content = ReplaceForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "Accepted.", body = JobView,
            headers(
                ("Location" = String, description = "The address of the job."),
                ("Idempotent-Replayed" = Option<bool>, description = "True where the job was accepted for an earlier request with the same key."),
                ("RateLimit-Policy" = String, description = "The rates that limit the submission."),
                ("RateLimit" = String, description = "What is left of the tightest rate."),
            )),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["uploads:write"]))
)]
pub async fn replace(
    caller: Authorised<UploadsWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    Idempotent(key): Idempotent,
    PathParam(photo_id): PathParam<String>,
    request: Request,
) -> Result<Accepted, Problem> {
    let sender = Sender {
        caller: caller.into_caller(),
        trace,
        key,
    };
    run(&state, sender, UploadKind::replace(photo_id)?, request).await
}

/// Who sends a photo, and what its request is known by.
struct Sender {
    caller: Arc<Caller>,
    trace: TraceContext,
    key: Option<IdempotencyKey>,
}

async fn run(
    state: &AppState,
    sender: Sender,
    kind: UploadKind,
    request: Request,
) -> Result<Accepted, Problem> {
    let limit = state.config.api.max_upload_bytes;
    check_headers(request.headers(), limit)?;
    let seat = state
        .uploads
        .take(&sender.caller.client_id)
        .ok_or(Problem::TooManyUploads)?;
    let work = state.clone();
    // When the client goes away, reading the form fails, and what was stored is deleted.
    state
        .to_the_end(async move {
            let answer = receive_and_accept(&work, sender, kind, request).await;
            drop(seat);
            Ok(Accepted::new(&work, answer?).await)
        })
        .await
}

async fn receive_and_accept(
    state: &AppState,
    sender: Sender,
    kind: UploadKind,
    request: Request,
) -> Result<Receipt, Problem> {
    let data = state.data()?;
    let (queue, method) = match kind {
        UploadKind::New => (Queue::Upload, "upload"),
        UploadKind::Replace { .. } => (Queue::Replace, "replace"),
    };
    let admission = UploadAdmission {
        data,
        limits: &state.limits,
        caller: &sender.caller,
        queue,
        key: sender.key.as_ref(),
    };
    let limit = state.config.api.max_upload_bytes;
    let (fields, idle) = (UploadFields::new(kind), state.patience.photo_piece);
    let received = receive(request, fields, &admission, limit, idle).await?;
    fail_point!("accept/after-photo");
    let photo = received.photo.clone();
    let outcome = order_and_accept(state, sender, (queue, method), received).await;
    // Where the job may exist after all, its photo must stay; the cleanup knows later.
    let in_use = match &outcome {
        Ok(receipt) => !receipt.replayed,
        Err(refusal) => refusal.may_be_stored,
    };
    if let Some(photo) = photo.filter(|_| !in_use) {
        discard(&data.bodies, &photo.body).await;
    }
    outcome.map_err(|refusal| refusal.problem)
}

async fn order_and_accept(
    state: &AppState,
    sender: Sender,
    (queue, method): (Queue, &str),
    received: Received,
) -> Result<Receipt, NotAccepted> {
    let valid = received
        .fields
        .validate(&state.callback_policy, received.photo.is_some())?;
    let data = state.data()?;
    let caller = &sender.caller;
    let user = authorised_user(&data.users, caller, &valid.user_id, Permission::Write, USER_PART).await?;
    refuse_disabled(data, &caller.client_id, valid.options.callback_url.as_ref()).await?;
    let (body, digest) = received.photo.map(|photo| (photo.body, photo.sha256)).unzip();
    let order = Order {
        user_id: user.id.clone(),
        app: user.app.clone(),
        queue,
        method: method.to_owned(),
        params: valid.params,
        body,
        options: valid.options,
    };
    let idempotency = sender.key.map(|key| {
        let payload = order.payload(digest.as_deref());
        key.of_request(&caller.client_id, &payload)
    });
    let job = order.into_job(caller, sender.trace, now(), &state.limits.get(), idempotency);
    accept(state, job).await
}
