//! One try to deliver a callback.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use secrecy::SecretString;
use serde_json::Value;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use url::Url;

use super::AddressPolicy;
use super::resolver::{FilteredResolver, NotPermitted};
use super::sign::{Signature, sign};
use crate::model::TraceContext;

/// How much of an answer is read, in bytes, so that its connection can be used again; the rest is not waited for.
const ANSWER_BOUND: usize = 16 * 1024;
/// Longest pause that a receiver may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);
/// How long a connection that nobody uses is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("the callback client cannot be made: {0}")]
pub struct CallbackClientError(#[from] reqwest::Error);

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver answered 2xx.
    Delivered,
    /// Try again later.
    Retry {
        /// Why, for logs: a status or the kind of failure, without the address or the answer.
        reason: String,
        /// What the receiver asked for by `Retry-After`, at most 24 h; wait for it when it is longer than the schedule.
        retry_after: Option<Duration>,
    },
    /// The receiver answered 410: it wants no more of this, do not try again.
    Gone,
}

impl DeliveryOutcome {
    fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// Delivers callbacks; cheap to clone.
#[derive(Clone)]
pub struct CallbackClient {
    policy: AddressPolicy,
    https: Client,
    http: Client,
}

impl CallbackClient {
    /// A client that reaches only what the policy permits, and gives up a try after `timeout`, answer included.
    ///
    /// Redirects are not followed: each would need the checks again, and Standard Webhooks counts them as failures.
    /// Proxies that the environment names are not used: they would connect where the policy does not see it.
    ///
    /// The process must have installed a TLS provider.
    ///
    /// # Errors
    /// When the certificates of the system cannot be loaded.
    pub fn new(policy: AddressPolicy, timeout: Duration) -> Result<Self, CallbackClientError> {
        let builder = || {
            Client::builder()
                .redirect(redirect::Policy::none())
                .no_proxy()
                .timeout(timeout)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .user_agent(concat!("FlickrHub/", env!("CARGO_PKG_VERSION")))
        };
        let permitted = policy.clone();
        let listed = policy.clone();
        let for_https = FilteredResolver::new(move |address| permitted.permits(address));
        let for_http = FilteredResolver::new(move |address| listed.lists(address));
        Ok(Self {
            https: builder()
                .https_only(true)
                .dns_resolver(Arc::new(for_https))
                .build()?,
            http: builder().dns_resolver(Arc::new(for_http)).build()?,
            policy,
        })
    }

    /// Tries once. `id` names the event and is the same in every try.
    pub async fn deliver(
        &self,
        url: &Url,
        id: &str,
        secret: &SecretString,
        payload: &Value,
        trace: &TraceContext,
    ) -> DeliveryOutcome {
        // The resolver does not see a host that is an address.
        if let Err(error) = self.policy.check_url(url) {
            return DeliveryOutcome::retry(error.to_string());
        }
        let body = payload.to_string();
        let signature = match sign(secret, id, Timestamp::now(), &body) {
            Ok(signature) => signature,
            Err(error) => return DeliveryOutcome::retry(error.to_string()),
        };
        let client = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let request = signed(client.post(url.clone()), &signature, trace).body(body);
        match request.send().await {
            Ok(mut answer) => {
                let outcome = judge(answer.status(), answer.headers(), Timestamp::now());
                discard_body(&mut answer).await;
                outcome
            }
            Err(error) => DeliveryOutcome::retry(kind_of_failure(&error)),
        }
    }
}

fn signed(request: RequestBuilder, signature: &Signature, trace: &TraceContext) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, "application/json")
        .header(HEADER_WEBHOOK_ID, &signature.id)
        .header(HEADER_WEBHOOK_TIMESTAMP, &signature.timestamp)
        .header(HEADER_WEBHOOK_SIGNATURE, &signature.signature)
        .header("traceparent", trace.child().traceparent)
        .header("x-trace-id", &trace.trace_id)
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> DeliveryOutcome {
    if status.is_success() {
        DeliveryOutcome::Delivered
    } else if status == StatusCode::GONE {
        DeliveryOutcome::Gone
    } else {
        DeliveryOutcome::Retry {
            reason: format!("status {}", status.as_u16()),
            retry_after: retry_after(headers, now),
        }
    }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(date.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(LONGEST_RETRY_AFTER))
}

async fn discard_body(answer: &mut Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        read += chunk.len();
        if read > ANSWER_BOUND {
            return;
        }
    }
}

fn kind_of_failure(error: &reqwest::Error) -> &'static str {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    if causes.any(<dyn std::error::Error>::is::<NotPermitted>) {
        "the host has no address that a callback may go to"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "the host cannot be reached"
    } else {
        "the connection was lost"
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::Router;
    use axum::body::Bytes;
    use axum::response::Redirect;
    use axum::routing::post;
    use serde_json::json;
    use standardwebhooks::Webhook;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// A receiver on the loopback interface.
    async fn receiver() -> std::io::Result<SocketAddr> {
        let routes = Router::new()
            .route("/verified", post(verify))
            .route("/gone", post(|| async { StatusCode::GONE }))
            .route("/moved", post(|| async { Redirect::temporary("/verified") }))
            .route(
                "/busy",
                post(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "120")]) }),
            )
            .route("/long", post(|| async { "x".repeat(1 << 20) }))
            .route("/slow", post(|| tokio::time::sleep(Duration::from_mins(1))));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(address)
    }

    async fn verify(headers: HeaderMap, body: Bytes) -> StatusCode {
        let genuine = Webhook::new(SECRET).is_ok_and(|webhook| webhook.verify(&body, &headers).is_ok());
        let traced = headers.contains_key("traceparent") && headers.contains_key("x-trace-id");
        if genuine && traced {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::BAD_REQUEST
        }
    }

    #[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
    async fn deliver(networks: &[&str], host: &str, path: &str) -> DeliveryOutcome {
        // A second test of the same process finds the provider installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let policy = AddressPolicy::new(networks.iter().map(|net| net.parse().unwrap()).collect());
        let client = CallbackClient::new(policy, Duration::from_secs(1)).unwrap();
        let port = receiver().await.unwrap().port();
        let url = Url::parse(&format!("http://{host}:{port}{path}")).unwrap();
        let payload = json!({"type": "job.completed"});
        client
            .deliver(
                &url,
                "event-1",
                &SecretString::from(SECRET),
                &payload,
                &TraceContext::new(),
            )
            .await
    }

    const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

    #[tokio::test]
    async fn a_receiver_can_verify_the_signature() {
        assert_eq!(
            deliver(&LOOPBACK, "127.0.0.1", "/verified").await,
            DeliveryOutcome::Delivered
        );
        assert_eq!(
            deliver(&LOOPBACK, "localhost", "/verified").await,
            DeliveryOutcome::Delivered
        );
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_is_left_alone() {
        assert_eq!(
            deliver(&LOOPBACK, "127.0.0.1", "/gone").await,
            DeliveryOutcome::Gone
        );
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let outcome = deliver(&LOOPBACK, "127.0.0.1", "/moved").await;
        assert_eq!(outcome, DeliveryOutcome::retry("status 307"));
    }

    #[tokio::test]
    async fn a_busy_receiver_says_when_to_come_back() {
        let outcome = deliver(&LOOPBACK, "127.0.0.1", "/busy").await;
        let retry_after = Some(Duration::from_mins(2));
        let reason = "status 503".to_owned();
        assert_eq!(outcome, DeliveryOutcome::Retry { reason, retry_after });
    }

    #[tokio::test]
    async fn a_long_answer_is_not_read_to_its_end() {
        assert_eq!(
            deliver(&LOOPBACK, "127.0.0.1", "/long").await,
            DeliveryOutcome::Delivered
        );
    }

    #[tokio::test]
    async fn a_slow_receiver_is_tried_again() {
        let outcome = deliver(&LOOPBACK, "127.0.0.1", "/slow").await;
        assert_eq!(outcome, DeliveryOutcome::retry("no answer in time"));
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_not_reached() {
        let outcome = deliver(&["10.0.0.0/8"], "localhost", "/verified").await;
        assert_eq!(
            outcome,
            DeliveryOutcome::retry("the host has no address that a callback may go to")
        );
    }

    #[tokio::test]
    async fn an_address_that_is_not_permitted_is_not_reached() {
        let outcome = deliver(&["10.0.0.0/8"], "127.0.0.1", "/verified").await;
        assert_eq!(
            outcome,
            DeliveryOutcome::retry("a callback must go to a public address")
        );
    }

    #[test]
    fn a_date_to_come_back_is_understood_and_bounded() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap_or_default();
        let pause = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().ok()?);
            retry_after(&headers, now)
        };
        assert_eq!(
            pause("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::from_mins(1))
        );
        assert_eq!(pause("Wed, 21 Oct 2015 07:26:00 GMT"), Some(Duration::ZERO));
        assert_eq!(pause("99999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(pause("soon"), None);
    }
}
