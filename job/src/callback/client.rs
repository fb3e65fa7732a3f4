//! One try to deliver a callback.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use serde_json::Value;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP};
use url::Url;

use super::resolver::{FilteredResolver, Lookup, NotPermitted, system};
use super::sign::{Signature, sign};
use super::{AddressPolicy, SigningSecrets, Try, TryOutcome};
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
        Self::with_lookup(policy, timeout, &system())
    }

    fn with_lookup(
        policy: AddressPolicy,
        timeout: Duration,
        lookup: &Lookup,
    ) -> Result<Self, CallbackClientError> {
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
        let for_https = FilteredResolver::new(Arc::clone(lookup), move |address| permitted.permits(address));
        let for_http = FilteredResolver::new(Arc::clone(lookup), move |address| listed.lists(address));
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
        secrets: &SigningSecrets,
        payload: &Value,
        trace: &TraceContext,
    ) -> Try {
        // The resolver does not see a host that is an address.
        if let Err(error) = self.policy.check_url(url) {
            tracing::info!(%error, "the callback address is refused");
            return Try::unanswered(TryOutcome::RefusedAddress);
        }
        let body = payload.to_string();
        let signature = match sign(secrets, id, Timestamp::now(), &body) {
            Ok(signature) => signature,
            Err(error) => {
                tracing::error!(%error, "the callback cannot be signed");
                return Try::unanswered(TryOutcome::NotSent);
            }
        };
        let client = if url.scheme() == "https" {
            &self.https
        } else {
            &self.http
        };
        let request = signed(client.post(url.clone()), &signature, trace).body(body);
        match request.send().await {
            Ok(mut answer) => {
                let tried = judge(answer.status(), answer.headers(), Timestamp::now());
                discard_body(&mut answer).await;
                tried
            }
            Err(error) => Try::unanswered(kind_of_failure(&error)),
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

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Try {
    let outcome = match status {
        StatusCode::GONE => TryOutcome::Gone,
        status if status.is_success() => TryOutcome::Delivered,
        status if status.is_redirection() => TryOutcome::Redirect,
        _ => TryOutcome::Status,
    };
    Try {
        outcome,
        status: Some(status.as_u16()),
        retry_after: retry_after(headers, now),
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

fn kind_of_failure(error: &reqwest::Error) -> TryOutcome {
    let any = |is: fn(&(dyn Error + 'static)) -> bool| causes(error).any(is);
    if any(<dyn Error>::is::<NotPermitted>) {
        TryOutcome::RefusedAddress
    } else if error.is_timeout() {
        TryOutcome::Timeout
    } else if any(<dyn Error>::is::<rustls::Error>) {
        TryOutcome::Tls
    } else if error.is_connect() {
        TryOutcome::Unreachable
    } else {
        TryOutcome::ConnectionLost
    }
}

/// What an error came from. [`io::Error`] does not name the error that it wraps among its sources.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| {
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => cause.source(),
        }
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
mod tests {
    use std::collections::VecDeque;
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::response::Redirect;
    use axum::routing::post;
    use secrecy::SecretString;
    use serde_json::json;
    use standardwebhooks::Webhook;

    use super::*;

    const PRESENT: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// A receiver on the loopback interface that counts the requests to `/verified`.
    #[derive(Clone, Default)]
    struct Receiver {
        verified: Arc<AtomicU32>,
    }

    impl Receiver {
        async fn listen(&self, address: &str) -> SocketAddr {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let moved = |to: &'static str| post(move || async move { Redirect::temporary(to) });
            let busy = async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "120")]);
            let routes = Router::new()
                .route("/verified", post(verify))
                .route("/rotating", post(verify_either))
                .route("/gone", post(async || StatusCode::GONE))
                .route("/moved", moved("/verified"))
                .route("/to-metadata", moved("http://169.254.169.254/latest/meta-data"))
                .route("/busy", post(busy))
                .route("/long", post(async || "x".repeat(1 << 20)))
                .route(
                    "/slow",
                    post(async || tokio::time::sleep(Duration::from_mins(1)).await),
                )
                .with_state(self.clone());
            tokio::spawn(async move { axum::serve(listener, routes).await });
            address
        }

        fn seen(&self) -> u32 {
            self.verified.load(Ordering::Relaxed)
        }
    }

    fn genuine(secret: &str, headers: &HeaderMap, body: &Bytes) -> bool {
        Webhook::new(secret).is_ok_and(|webhook| webhook.verify(body, headers).is_ok())
    }

    const fn answer(good: bool) -> StatusCode {
        if good {
            StatusCode::NO_CONTENT
        } else {
            StatusCode::BAD_REQUEST
        }
    }

    async fn verify(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
        receiver.verified.fetch_add(1, Ordering::Relaxed);
        let traced = headers.contains_key("traceparent") && headers.contains_key("x-trace-id");
        answer(traced && genuine(SECRET, &headers, &body))
    }

    /// Both a receiver that was given the new secret and one that was not take it.
    async fn verify_either(headers: HeaderMap, body: Bytes) -> StatusCode {
        answer(genuine(PRESENT, &headers, &body) && genuine(SECRET, &headers, &body))
    }

    fn policy(networks: &[&str]) -> AddressPolicy {
        // A second test of the same process finds the provider installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        AddressPolicy::new(networks.iter().map(|net| net.parse().unwrap()).collect())
    }

    async fn try_once(client: &CallbackClient, url: &str, secrets: impl Into<SigningSecrets>) -> Try {
        let (url, payload) = (Url::parse(url).unwrap(), json!({"type": "job.completed"}));
        let trace = TraceContext::new();
        client
            .deliver(&url, "event-1", &secrets.into(), &payload, &trace)
            .await
    }

    async fn deliver_to(receiver: &Receiver, networks: &[&str], host: &str, path: &str) -> Try {
        let client = CallbackClient::new(policy(networks), Duration::from_secs(1)).unwrap();
        let port = receiver.listen("127.0.0.1:0").await.port();
        try_once(
            &client,
            &format!("http://{host}:{port}{path}"),
            SecretString::from(SECRET),
        )
        .await
    }

    async fn deliver(networks: &[&str], host: &str, path: &str) -> Try {
        deliver_to(&Receiver::default(), networks, host, path).await
    }

    const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

    const fn answered(outcome: TryOutcome, status: u16) -> Try {
        Try {
            outcome,
            status: Some(status),
            retry_after: None,
        }
    }

    #[tokio::test]
    async fn a_receiver_can_verify_the_signature() {
        for host in ["127.0.0.1", "localhost"] {
            assert_eq!(
                deliver(&LOOPBACK, host, "/verified").await,
                answered(TryOutcome::Delivered, 204)
            );
        }
    }

    #[tokio::test]
    async fn during_a_rotation_a_receiver_verifies_with_either_secret() {
        let client = CallbackClient::new(policy(&LOOPBACK), Duration::from_secs(1)).unwrap();
        let address = Receiver::default().listen("127.0.0.1:0").await;
        let [present, previous] = [PRESENT, SECRET].map(SecretString::from);
        let secrets = SigningSecrets::new(present, Some(previous));
        let tried = try_once(&client, &format!("http://{address}/rotating"), secrets).await;
        assert_eq!(tried, answered(TryOutcome::Delivered, 204));
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_says_so() {
        assert_eq!(
            deliver(&LOOPBACK, "127.0.0.1", "/gone").await,
            answered(TryOutcome::Gone, 410)
        );
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        for path in ["/moved", "/to-metadata"] {
            let receiver = Receiver::default();
            let tried = deliver_to(&receiver, &LOOPBACK, "127.0.0.1", path).await;
            assert_eq!(tried, answered(TryOutcome::Redirect, 307));
            assert_eq!(receiver.seen(), 0);
        }
    }

    #[tokio::test]
    async fn a_busy_receiver_says_when_to_come_back() {
        let expected = Try {
            retry_after: Some(Duration::from_mins(2)),
            ..answered(TryOutcome::Status, 503)
        };
        assert_eq!(deliver(&LOOPBACK, "127.0.0.1", "/busy").await, expected);
    }

    #[tokio::test]
    async fn a_long_answer_is_not_read_to_its_end() {
        assert_eq!(
            deliver(&LOOPBACK, "127.0.0.1", "/long").await,
            answered(TryOutcome::Delivered, 200)
        );
    }

    #[tokio::test]
    async fn a_try_without_an_answer_is_told_by_its_kind() {
        let slow = deliver(&LOOPBACK, "127.0.0.1", "/slow").await;
        assert_eq!(slow, Try::unanswered(TryOutcome::Timeout));

        let client = CallbackClient::new(policy(&LOOPBACK), Duration::from_secs(1)).unwrap();
        let plain = Receiver::default().listen("127.0.0.1:0").await;
        let closed = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        for (url, outcome) in [
            (format!("https://{plain}/verified"), TryOutcome::Tls),
            (format!("http://{closed}/verified"), TryOutcome::Unreachable),
        ] {
            let tried = try_once(&client, &url, SecretString::from(SECRET)).await;
            assert_eq!(tried, Try::unanswered(outcome), "{url}");
        }
        let unsigned = try_once(
            &client,
            &format!("http://{plain}/verified"),
            SecretString::from("none"),
        )
        .await;
        assert_eq!(unsigned, Try::unanswered(TryOutcome::NotSent));
    }

    #[tokio::test]
    async fn a_host_that_is_not_permitted_is_not_reached_by_address_or_by_name() {
        for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
            let receiver = Receiver::default();
            let tried = deliver_to(&receiver, &["10.0.0.0/8"], host, "/verified").await;
            assert_eq!(tried, Try::unanswered(TryOutcome::RefusedAddress), "{host}");
            assert_eq!(receiver.seen(), 0, "{host}");
        }
    }

    /// A name server whose answers change from one question to the next; the last one stays.
    fn rebinding(answers: &[&[&str]], asked: &Arc<AtomicU32>) -> Lookup {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        let answers: Mutex<VecDeque<Vec<IpAddr>>> = Mutex::new(answers.iter().map(parse).collect());
        let asked = Arc::clone(asked);
        Arc::new(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            let mut left = answers.lock().unwrap();
            let answer = if left.len() > 1 {
                left.pop_front()
            } else {
                left.front().cloned()
            };
            Box::pin(async move { Ok(answer.unwrap_or_default()) })
        })
    }

    #[tokio::test]
    async fn of_the_addresses_of_a_name_only_those_that_are_permitted_are_connected_to() {
        let (permitted, forbidden, asked) = (Receiver::default(), Receiver::default(), Arc::default());
        let port = permitted.listen("127.0.0.2:0").await.port();
        forbidden.listen(&format!("127.0.0.1:{port}")).await;
        let lookup = rebinding(&[&["127.0.0.1", "::1", "127.0.0.2", "169.254.169.254"]], &asked);
        let client = CallbackClient::with_lookup(policy(&["127.0.0.2/32"]), Duration::from_secs(1), &lookup);
        let url = format!("http://hook.example:{port}/verified");
        let tried = try_once(&client.unwrap(), &url, SecretString::from(SECRET)).await;
        assert_eq!(tried, answered(TryOutcome::Delivered, 204));
        assert_eq!((permitted.seen(), forbidden.seen()), (1, 0));
    }

    #[tokio::test]
    async fn a_name_that_is_bound_to_another_address_after_the_check_gains_nothing() {
        let (permitted, forbidden) = (Receiver::default(), Receiver::default());
        let asked: Arc<AtomicU32> = Arc::default();
        let port = permitted.listen("127.0.0.2:0").await.port();
        forbidden.listen(&format!("127.0.0.1:{port}")).await;
        let lookup = rebinding(&[&["127.0.0.2"], &["127.0.0.1"]], &asked);
        let client =
            || CallbackClient::with_lookup(policy(&["127.0.0.2/32"]), Duration::from_secs(1), &lookup);
        let url = format!("http://hook.example:{port}/verified");
        let first = try_once(&client().unwrap(), &url, SecretString::from(SECRET)).await;
        assert_eq!(first, answered(TryOutcome::Delivered, 204));
        assert_eq!(
            asked.load(Ordering::Relaxed),
            1,
            "checked and connected to by one answer"
        );
        // A new connection asks anew, and the new answer is checked too.
        let second = try_once(&client().unwrap(), &url, SecretString::from(SECRET)).await;
        assert_eq!(second, Try::unanswered(TryOutcome::RefusedAddress));
        assert_eq!((permitted.seen(), forbidden.seen()), (1, 0));
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
