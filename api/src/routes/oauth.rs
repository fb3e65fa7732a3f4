//! `/api/v1/oauth`: how a Flickr user authorises a client (OAuth 1.0a, three legs).
//!
//! | step | if the process dies after it |
//! | --- | --- |
//! | start: Flickr gives a request token; stored, encrypted, for an hour | the token runs out; start again |
//! | the user agrees at Flickr, the browser comes back | nothing was lost; the callback can be loaded again |
//! | callback: the request is read, and what Vault keeps of it and of the client's way back is decrypted | the same |
//! | the request is taken out, so that it works once | start again |
//! | Flickr gives the access token | it is lost, unused; start again |
//! | Flickr tells what the token allows | the same |
//! | the token is encrypted | the same |
//! | token and grant are stored, in one update | the client may act for the user, whose browser learns nothing; starting again does no harm |
//!
//! A failure of a step is as a crash after the step before: nothing is stored unless everything was found out before. So
//! while Vault is away the callback can be loaded again.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use flickrhub_flickr::{
    AccessGrant, AppCredentials, Disposition, Failure, FlickrError, Permission, RequestToken, Sign,
    TokenInfo, TraceHeaders, UserToken,
};
use flickrhub_job::budget::Permit;
use flickrhub_job::callback::SigningSecrets;
use flickrhub_job::config::{FlickrApp, read_secret};
use flickrhub_job::model::TraceContext;
use flickrhub_job::store::{NewToken, OauthRequest};
use flickrhub_job::vault::TransitKey;
use jiff::Timestamp;
use mongodb::bson::Uuid;
use secrecy::ExposeSecret;
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use crate::accept::now;
use crate::auth::{Authorised, UsersWrite};
use crate::authorisation::granted;
use crate::data_tier::DataTier;
use crate::extract::JsonBody;
use crate::middleware::trace::Traced;
use crate::problem::{Problem, ProblemDocument};
use crate::return_link::{Outcome, return_link};
use crate::state::AppState;
use crate::validate::{CallbackQuery, StartAuthorisation};

/// How long an authorisation may be under way; the store forgets it then.
const LIFETIME: Duration = Duration::from_hours(1);
/// Where Flickr sends the user's browser back to, below the public address.
const CALLBACK_PATH: &str = "/api/v1/oauth/callback";

/// Where to send the user.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorisationStarted {
    /// The page at Flickr that asks the user.
    #[schema(value_type = String, format = "uri")]
    pub authorize_url: Url,
    /// Until when the user may answer.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// The user that authorised the client.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuthorisedUser {
    /// The user (NSID), for `user_id` of jobs.
    #[schema(example = "12037949754@N01")]
    pub user_id: String,
    /// The user's name at Flickr.
    pub username: String,
    /// What the user granted, which can be less than what was asked for: `read`, `write` or `delete`.
    pub permission: String,
}

/// Start an authorisation
///
/// Send the user's browser to `authorize_url`. When the user agrees, Flickr sends it back here, and from then on the
/// client may submit jobs for the user.
#[utoipa::path(
    post,
    path = "/api/v1/oauth/start",
    tag = "users",
    request_body = StartAuthorisation,
    responses(
        (status = 200, description = "Where to send the user.", body = AuthorisationStarted),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["users:write"]))
)]
pub async fn start(
    caller: Authorised<UsersWrite>,
    State(state): State<AppState>,
    Traced(trace): Traced,
    JsonBody(request): JsonBody<StartAuthorisation>,
) -> Result<Json<AuthorisationStarted>, Problem> {
    let start = request.validate(&state.config.flickr.apps)?;
    let data = state.data()?;
    let callback = callback_url(&state.config.api.public_url);
    let (credentials, headers) = (credentials(&start.app)?, trace_headers(&trace));
    let permit = data.budget.permit_sign_in(&start.app.name).await?;
    let ask = state.flickr.request_token(&credentials, &callback, &headers);
    let RequestToken(token) = step(data, permit, ask).await?;
    let created_at = now();
    let oauth_token = token.token.expose_secret().to_owned();
    let request = OauthRequest {
        token: oauth_token.clone(),
        secret: data
            .vault
            .encrypt(TransitKey::AppCredentials, &caller.client_id, &token.secret)
            .await?,
        client_id: caller.client_id.clone(),
        app: start.app.name,
        permission: start.permission.as_str().to_owned(),
        return_url: start.return_url.map(String::from),
        created_at,
    };
    data.oauth_requests.insert(&request).await?;
    Ok(Json(AuthorisationStarted {
        authorize_url: state.flickr.authorize_url(&oauth_token, start.permission),
        expires_at: created_at.checked_add(LIFETIME).unwrap_or(Timestamp::MAX),
    }))
}

/// Finish an authorisation
///
/// Flickr sends the user's browser here. It needs no API key: the request token, which is used up by this, stands for
/// the client that started it.
#[utoipa::path(
    get,
    path = "/api/v1/oauth/callback",
    tag = "users",
    params(
        ("oauth_token" = String, Query, description = "The request token."),
        ("oauth_verifier" = Option<String>, Query, description = "The proof that the user agreed."),
    ),
    responses(
        (status = 200, description = "Authorised.", body = AuthorisedUser),
        (status = 303, description = "To the `return_url`, with `status` (`authorised`, `refused` or `failed`), for the \
            first of them `user_id` and `permission`, and a signature by the scheme of the callbacks (Standard Webhooks): \
            the message is the query as it came up to `&webhook_id=`, the headers are the parameters `webhook_id`, \
            `webhook_timestamp` and `webhook_signature`. Verify it before you believe the rest."),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    )
)]
pub async fn callback(
    State(state): State<AppState>,
    Traced(trace): Traced,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = CallbackQuery::parse(query.as_deref().unwrap_or_default())?;
    let work = state.clone();
    state
        .to_the_end(async move { finish(&work, &trace, query).await })
        .await
}

async fn finish(state: &AppState, trace: &TraceContext, query: CallbackQuery) -> Result<Response, Problem> {
    let data = state.data()?;
    let request = data
        .oauth_requests
        .get(&query.token)
        .await?
        .ok_or(Problem::AuthorisationUnknown)?;
    // Before anything is stored: without a signature there is no way back.
    let way_back = match request.return_url.as_deref().and_then(|url| Url::parse(url).ok()) {
        Some(address) => Some((address, signing_secrets(data, &request.client_id).await?)),
        None => None,
    };
    let token = query.token.clone();
    let proof = match proof(data, &request, query).await {
        // Nothing is used up: the browser may come again.
        Err(Problem::Unavailable) => return Err(Problem::Unavailable),
        proof => proof,
    };
    // Of two that come at once, one gets it.
    let taken = data.oauth_requests.take(&token).await?;
    taken.ok_or(Problem::AuthorisationUnknown)?;
    let done = match proof {
        Ok(proof) => exchange(state, trace, &request, proof).await,
        Err(problem) => Err(problem),
    };
    let Some((address, secrets)) = way_back else {
        return Ok(Json(done?).into_response());
    };
    let outcome = match &done {
        Ok(user) => Outcome::Authorised {
            user_id: &user.user_id,
            permission: &user.permission,
        },
        Err(Problem::AuthorisationRefused) => Outcome::Refused,
        // The browser is the user's: a problem document would mean nothing to them.
        Err(problem) => {
            tracing::warn!(code = problem.code(), "an authorisation failed");
            Outcome::Failed
        }
    };
    let link = return_link(address, &outcome, &secrets, &Uuid::new().to_string(), now());
    let link = link.map_err(|error| {
        tracing::error!(%error, client_id = request.client_id, "the client's webhook secret cannot sign");
        Problem::Internal
    })?;
    Ok(Redirect::to(link.as_str()).into_response())
}

/// What signs the way back to the client.
async fn signing_secrets(data: &DataTier, client_id: &str) -> Result<SigningSecrets, Problem> {
    // The client was removed from the hub since.
    let stored = data.clients.webhook_secrets(client_id).await?;
    let stored = stored.ok_or(Problem::AuthorisationUnknown)?;
    Ok(SigningSecrets::decrypt(&data.vault, client_id, &stored, now()).await?)
}

/// What Flickr gives an access token for.
struct Proof {
    /// The request token with its secret.
    token: RequestToken,
    /// That the user agreed.
    verifier: String,
}

/// What the callback and the stored request prove.
///
/// # Errors
/// When the user refused, or Vault cannot decrypt the secret of the request.
async fn proof(data: &DataTier, request: &OauthRequest, query: CallbackQuery) -> Result<Proof, Problem> {
    let verifier = query.verifier.ok_or(Problem::AuthorisationRefused)?;
    let secret = data
        .vault
        .decrypt(TransitKey::AppCredentials, &request.client_id, &request.secret)
        .await?;
    Ok(Proof {
        token: RequestToken(UserToken::new(query.token, secret)),
        verifier,
    })
}

/// Trades the request token for an access token, and stores that.
///
/// A token that is stored already and allows more is not asked about: if the user withdrew it at Flickr and then grants
/// less, it stays until every client of the user has removed it.
async fn exchange(
    state: &AppState,
    trace: &TraceContext,
    request: &OauthRequest,
    Proof { token, verifier }: Proof,
) -> Result<AuthorisedUser, Problem> {
    let data = state.data()?;
    let app = state
        .config
        .flickr
        .apps
        .iter()
        .find(|app| app.name == request.app);
    // The application was removed from the hub since.
    let app = app.ok_or(Problem::AuthorisationUnknown)?;
    let (credentials, headers) = (credentials(app)?, trace_headers(trace));
    let permit = data.budget.permit_sign_in(&app.name).await?;
    let trade = state
        .flickr
        .access_token(&credentials, &token, &verifier, &headers);
    let grant = step(data, permit, trade).await?;
    let permit = data.budget.permit_sign_in(&app.name).await?;
    let check = state.flickr.check_token(&credentials, &grant.token, &headers);
    let info = step(data, permit, check).await?;
    let permission = permitted(granted(&request.permission), &grant, &info)?;
    let AccessGrant {
        token,
        user_nsid,
        username,
        fullname,
    } = grant;
    let stored = NewToken {
        token: data
            .vault
            .encrypt(TransitKey::UserTokens, &user_nsid, &token.token)
            .await?,
        token_secret: data
            .vault
            .encrypt(TransitKey::UserTokens, &user_nsid, &token.secret)
            .await?,
        user_id: user_nsid,
        username,
        full_name: fullname,
        app: request.app.clone(),
        permission: permission.as_str().to_owned(),
    };
    data.users.upsert_token(&stored, &request.client_id).await?;
    tracing::info!(
        event = "user_authorised",
        user_id = stored.user_id,
        client_id = request.client_id,
        permission = stored.permission,
        "user authorised a client"
    );
    Ok(AuthorisedUser {
        user_id: stored.user_id,
        username: stored.username,
        permission: stored.permission,
    })
}

/// What the client may do from now on: what the token allows, and no more than the user was asked for. The permission
/// stands in the address of Flickr's page, where the user's browser can change it.
///
/// # Errors
/// When the token allows nothing, or Flickr names another user than it named with the token.
fn permitted(asked: Permission, grant: &AccessGrant, info: &TokenInfo) -> Result<Permission, Problem> {
    if info.user_nsid != grant.user_nsid {
        tracing::error!(
            user_id = grant.user_nsid,
            "Flickr says of a token that it is another user's"
        );
        return Err(Problem::FlickrUnavailable);
    }
    match asked.min(info.permission) {
        Permission::None => Err(Problem::AuthorisationRefused),
        permission => Ok(permission),
    }
}

/// Below the public address, whatever path that has; a query or fragment of it would swallow what Flickr adds.
fn callback_url(public_url: &Url) -> String {
    let mut url = public_url.clone();
    url.set_path(&format!(
        "{}{CALLBACK_PATH}",
        public_url.path().trim_end_matches('/')
    ));
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

/// The application's key and secret, read anew so that a changed Secret is picked up.
fn credentials(app: &FlickrApp) -> Result<AppCredentials, Problem> {
    let read = |path: &Path| {
        read_secret(path).map_err(|error| {
            tracing::error!(%error, app = app.name, "the credentials of a Flickr application cannot be read");
            Problem::Internal
        })
    };
    let key = read(&app.consumer_key_file)?;
    Ok(AppCredentials::new(
        key.expose_secret(),
        read(&app.consumer_secret_file)?,
    ))
}

fn trace_headers(trace: &TraceContext) -> TraceHeaders {
    TraceHeaders::new(Some(trace.traceparent.as_str()), Some(trace.trace_id.as_str()))
}

/// Makes one request to Flickr and tells the circuit breaker how it ended.
async fn step<T>(
    data: &DataTier,
    permit: Permit,
    request: impl Future<Output = Result<T, FlickrError>>,
) -> Result<T, Problem> {
    let answer = request.await;
    match answer.as_ref().err().map_or(Sign::There, FlickrError::sign) {
        Sign::There => data.budget.succeeded(permit),
        Sign::Away => data.budget.failed(permit),
        Sign::Limited(retry_after) => data.budget.limited(permit, retry_after),
        Sign::Nothing => {}
    }
    answer.map_err(|error| flickr_problem(&error))
}

/// What Flickr's answer means for the client: a token or verifier that Flickr does not take is the user's refusal, and
/// everything else is between Flickr and this hub.
pub(crate) fn flickr_problem(error: &FlickrError) -> Problem {
    use flickrhub_flickr::OAuthProblem as P;
    let refused = matches!(
        error.failure(),
        Failure::OAuth(
            P::UserRefused
                | P::VerifierInvalid
                | P::TokenExpired
                | P::TokenRejected
                | P::TokenRevoked
                | P::TokenUsed
                | P::PermissionDenied
                | P::PermissionUnknown
        )
    );
    if refused {
        tracing::info!(%error, "an authorisation was refused");
        Problem::AuthorisationRefused
    } else {
        tracing::warn!(%error, permanent = error.disposition() == Disposition::Permanent, "a step of OAuth failed");
        Problem::FlickrUnavailable
    }
}

#[cfg(test)]
mod tests {
    use flickrhub_flickr::{OAuthProblem, Operation};

    use super::*;

    #[test]
    fn flickr_sends_the_browser_back_below_the_public_address() {
        for (public, callback) in [
            (
                "https://hub.example.com",
                "https://hub.example.com/api/v1/oauth/callback",
            ),
            (
                "https://example.com/hub/",
                "https://example.com/hub/api/v1/oauth/callback",
            ),
            (
                "https://example.com:8443/a/b%20c",
                "https://example.com:8443/a/b%20c/api/v1/oauth/callback",
            ),
            (
                "https://example.com/hub?tenant=1#top",
                "https://example.com/hub/api/v1/oauth/callback",
            ),
        ] {
            assert_eq!(
                Url::parse(public).map(|url| callback_url(&url)),
                Ok(callback.to_owned())
            );
        }
    }

    #[test]
    fn a_client_gets_what_was_granted_and_no_more_than_it_asked_for() {
        use Permission as P;
        let grant = AccessGrant {
            token: UserToken::new("token", "secret"),
            user_nsid: "12@N01".to_owned(),
            username: "bees".to_owned(),
            fullname: String::new(),
        };
        let info = |permission, nsid: &str| TokenInfo {
            permission,
            user_nsid: nsid.to_owned(),
        };
        for (asked, allowed, expected) in [
            (P::Write, P::Write, Ok(P::Write)),
            (P::Delete, P::Read, Ok(P::Read)),
            (P::Read, P::Delete, Ok(P::Read)),
            (P::Write, P::None, Err(Problem::AuthorisationRefused)),
            (P::None, P::Write, Err(Problem::AuthorisationRefused)),
        ] {
            let found = permitted(asked, &grant, &info(allowed, "12@N01"));
            assert_eq!(found, expected, "{asked:?} {allowed:?}");
        }
        assert_eq!(
            permitted(P::Read, &grant, &info(P::Read, "13@N01")),
            Err(Problem::FlickrUnavailable)
        );
    }

    #[test]
    fn a_wrong_verifier_is_the_users_affair_and_a_wrong_application_key_is_ours() {
        let problem = |failure| flickr_problem(&FlickrError::new(Operation::AccessToken, failure));
        assert_eq!(
            problem(Failure::OAuth(OAuthProblem::VerifierInvalid)),
            Problem::AuthorisationRefused
        );
        assert_eq!(
            problem(Failure::OAuth(OAuthProblem::ConsumerKeyUnknown)),
            Problem::FlickrUnavailable
        );
        assert_eq!(problem(Failure::Connect), Problem::FlickrUnavailable);
    }
}
