//! Faults of the data tier, of Flickr and of our own, as the drivers tell them, through the conversions into problems and
//! the whole stack: whatever the error says, no answer repeats any of it.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use flickrhub_flickr::{
    AppCredentials, Endpoints, FlickrClient, FlickrError, RequestToken, TraceHeaders, UserToken,
};
use flickrhub_job::cache::CacheError;
use flickrhub_job::config::{ConfigError, RedisConfig, VaultAuth, VaultConfig};
use flickrhub_job::connection::ConnectError;
use flickrhub_job::connection::redis::{Redis, RedisError};
use flickrhub_job::lane::LaneError;
use flickrhub_job::store::StoreError;
use flickrhub_job::vault::{Component, TransitKey, Vault, VaultError};
use mongodb::bson::{Document, doc};
use mongodb::error::{CommandError, Error, ErrorKind, WriteError, WriteFailure};
use mongodb::options::{ClientOptions, ServerAddress};
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use url::Url;

use super::super::{FLICKR_TIMEOUTS, app, surrounded};
use super::faults::tells_nothing;
use super::state;
use crate::problem::Problem;
use crate::routes::oauth::flickr_problem;
use crate::state::AppState;

/// What the errors of these tests tell: hosts, ports, names of keys and collections, what was asked, credentials.
const SECRETS: [&str; 22] = [
    "hub-mongodb-0",
    "hub-redis-0",
    "photos.svc",
    "10.42.",
    "27017",
    "6379",
    "find_one",
    "client_id",
    "flickrhub.jobs",
    "not authorized",
    "dup key",
    "vault",
    "transit",
    "flickrhub-user-tokens",
    "hvs.",
    "hunter2",
    "oauth_token",
    "oauth_signature",
    "consumer",
    "72157",
    "permission denied",
    "fh:{",
];

/// What went wrong, as the log has it, and what its client is told.
struct Fault {
    said: String,
    problem: Problem,
}

impl Fault {
    fn of<E: Display + Into<Problem>>(error: E) -> Self {
        Self {
            said: error.to_string(),
            problem: error.into(),
        }
    }
}

/// Asks a route that fails like this.
async fn check(fault: Fault) {
    let Fault { said, problem } = fault;
    let status = problem.status().as_u16();
    let route = get(move || async move { Err::<StatusCode, Problem>(problem) });
    let routes = Router::<AppState>::new().route("/api/v1/fault", route);
    let router = surrounded(routes, state());
    let answered = tells_nothing(&router, ask(), &SECRETS).await;
    assert_eq!(answered, status, "{said}");
    assert!(matches!(status, 403 | 500..=504), "{said}: {status}");
}

fn ask() -> Request<Body> {
    let request = Request::builder().uri("/api/v1/fault").body(Body::empty());
    request.expect("a request")
}

/// The same, of errors that tell what no client may learn: were there none, nothing would be tested.
async fn check_that_tells(fault: Fault) {
    let said = fault.said.to_lowercase();
    assert!(SECRETS.iter().any(|secret| said.contains(secret)), "{said}");
    check(fault).await;
}

/// What the driver says when no member of the set is there.
async fn no_server() -> Error {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let host = ServerAddress::Tcp {
        host: "hub-mongodb-0.hub-mongodb.photos.svc.cluster.local".to_owned(),
        port: Some(27017),
    };
    let options = ClientOptions::builder()
        .hosts(vec![host])
        .server_selection_timeout(Duration::from_millis(100))
        .build();
    let client = mongodb::Client::with_options(options).expect("options");
    let jobs = client.database("flickrhub").collection::<Document>("jobs");
    jobs.find_one(doc! {}).await.expect_err("there is no server")
}

fn command(code: i32, name: &str, message: &str) -> Error {
    let refusal = json!({"code": code, "codeName": name, "errmsg": message, "topologyVersion": null});
    let refusal: CommandError = serde_json::from_value(refusal).expect("an error");
    ErrorKind::Command(refusal).into()
}

fn write(code: i32, message: &str) -> Error {
    let refusal: WriteError =
        serde_json::from_value(json!({"code": code, "errmsg": message, "errInfo": null})).expect("an error");
    ErrorKind::Write(WriteFailure::WriteError(refusal)).into()
}

#[tokio::test]
async fn nothing_of_what_mongodb_says_is_told() {
    check_that_tells(Fault::of(StoreError::from(no_server().await))).await;
    let broken = std::io::Error::other("10.42.0.17:27017: Connection reset by peer (os error 104)");
    check_that_tells(Fault::of(StoreError::from(Error::from(broken)))).await;
    let denied =
        "not authorized on flickrhub to execute command { find: \"jobs\", filter: { client_id: \"acme\" } }";
    check_that_tells(Fault::of(StoreError::from(command(13, "Unauthorized", denied)))).await;
    let stepped_down = "hub-mongodb-0.photos.svc:27017 is no longer the primary";
    let stepped_down = command(189, "PrimarySteppedDown", stepped_down);
    check_that_tells(Fault::of(StoreError::from(stepped_down))).await;
    check(Fault::of(StoreError::from(write(
        11000,
        "E11000 duplicate key error collection: flickrhub.jobs index: hunter2 dup key: { client_id: \"acme\" }",
    ))))
    .await;
    let refused = "Document failed validation: client_id hunter2 in flickrhub.jobs";
    check_that_tells(Fault::of(StoreError::from(write(121, refused)))).await;
    for error in [
        StoreError::Timeout,
        StoreError::Interrupted,
        StoreError::Unreadable("missing field `client_id` in flickrhub.jobs".to_owned()),
        StoreError::Unstorable("client_id: hunter2".to_owned()),
        StoreError::NoSuchBody("hunter2".to_owned()),
        StoreError::ResultTooLarge { bytes: 27017 },
    ] {
        check(Fault::of(error)).await;
    }
}

#[tokio::test]
async fn nothing_of_what_redis_says_is_told() {
    let host = "hub-redis-0.hub-redis.photos.svc.cluster.local:6379";
    let lost = || redis::RedisError::from((redis::ErrorKind::Io, "connection refused", host.to_owned()));
    let refused = || {
        let key = "Operation against key fh:{12@N01}:lane holding the wrong kind of value";
        redis::make_extension_error("WRONGTYPE".to_owned(), Some(key.to_owned()))
    };
    let password = || {
        let detail = "invalid username-password pair hunter2".to_owned();
        redis::RedisError::from((redis::ErrorKind::AuthenticationFailed, "WRONGPASS", detail))
    };
    for error in [lost(), refused(), password()] {
        check_that_tells(Fault::of(RedisError::from(error))).await;
    }
    check_that_tells(Fault::of(LaneError::from(RedisError::from(lost())))).await;
    check_that_tells(Fault::of(CacheError::from(RedisError::from(refused())))).await;
    let no_master = RedisError::NoMaster(ConnectError::Redis(lost()));
    check_that_tells(Fault::of(no_master)).await;
    let wrong = ConnectError::Address {
        service: "Redis",
        address: host.to_owned(),
    };
    check_that_tells(Fault::of(RedisError::NoMaster(wrong))).await;
    check(Fault::of(LaneError::NotAJob(b"fh:{hunter2}".to_vec()))).await;
    check(Fault::of(CacheError::Unreadable)).await;
    check(Fault::of(RedisError::TimedOut)).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_not_named() {
    let folder = std::env::temp_dir().join(format!("flickrhub-leaks-redis-{}", std::process::id()));
    std::fs::write(&folder, "hunter2").expect("written");
    let config = RedisConfig {
        sentinels: vec!["127.0.0.1:1".to_owned()],
        master_name: "flickrhub".to_owned(),
        password_file: folder,
        ca_file: None,
        key_prefix: "fh:".to_owned(),
    };
    // The client looks for a master when it is made, or when it is first asked.
    let error = match Redis::connect(&config).await {
        Ok(redis) => redis.ping().await.expect_err("there is none"),
        Err(error) => RedisError::from(error),
    };
    check(Fault::of(error)).await;
}

/// A server on loopback that answers everything with this.
async fn answering(status: u16, body: &'static str) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let status = StatusCode::from_u16(status).expect("a status");
    let server = Router::new().fallback(move || async move { (status, body) });
    tokio::spawn(async move { axum::serve(listener, server).await });
    format!("http://{address}").parse().expect("an address")
}

/// An address at which nobody listens.
async fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    format!("http://{address}").parse().expect("an address")
}

async fn of_vault(address: Url) -> VaultError {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let port = address.port().unwrap_or_default();
    let token_file = std::env::temp_dir().join(format!("flickrhub-leaks-{port}-{}", std::process::id()));
    std::fs::write(&token_file, "hvs.hunter2").expect("written");
    let config = VaultConfig {
        address,
        namespace: None,
        ca_file: None,
        auth: VaultAuth::Token { token_file },
        transit_mount: "transit".to_owned(),
        user_tokens_key: "flickrhub-user-tokens".to_owned(),
        app_credentials_key: "flickrhub-app-credentials".to_owned(),
    };
    let vault = Vault::connect(&config, Component::Api).await.expect("a token");
    let secret = SecretString::from("hunter2");
    let sealed = vault.encrypt(TransitKey::UserTokens, "12@N01", &secret).await;
    sealed.expect_err("it cannot")
}

#[tokio::test]
async fn nothing_of_what_vault_says_is_told() {
    const DENIED: &str = r#"{"errors":["1 error occurred: permission denied for hvs.hunter2 on transit/encrypt/flickrhub-user-tokens"]}"#;
    let denied = [400, 403, 404, 500, 503];
    let denied = denied.map(|status| async move { of_vault(answering(status, DENIED).await).await });
    for error in futures::future::join_all(denied).await {
        check(Fault::of(error)).await;
    }
    check(Fault::of(
        of_vault(answering(200, "<html>hvs.hunter2</html>").await).await,
    ))
    .await;
    check(Fault::of(of_vault(nobody().await).await)).await;
    let missing = ConfigError::Read {
        path: PathBuf::from("/var/run/secrets/hub-vault/hunter2"),
        source: std::io::Error::other("No such file or directory (os error 2)"),
    };
    check_that_tells(Fault::of(VaultError::from(missing))).await;
}

/// How each step of the OAuth flow fails against this Flickr.
async fn of_flickr(origin: Url) -> [FlickrError; 3] {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoints = Endpoints::under(&origin).expect("addresses");
    let client = FlickrClient::new(endpoints, FLICKR_TIMEOUTS).expect("a client");
    let app = AppCredentials::new("consumer-hunter2", "hunter2");
    let token = || UserToken::new("72157-hunter2", "hunter2");
    let trace = TraceHeaders::new(None, None);
    let started = client
        .request_token(&app, "https://hub.example.com/hunter2", &trace)
        .await;
    let traded = client
        .access_token(&app, &RequestToken(token()), "hunter2", &trace)
        .await;
    let checked = client.check_token(&app, &token(), &trace).await;
    [
        started.map(|_| ()).expect_err("it cannot"),
        traded.map(|_| ()).expect_err("it cannot"),
        checked.map(|_| ()).expect_err("it cannot"),
    ]
}

#[tokio::test]
async fn nothing_of_what_flickr_says_is_told() {
    const DEBUG: &str =
        "oauth_problem=signature_invalid&debug_sbs=GET&oauth_token=72157-hunter2&oauth_signature=hunter2";
    for origin in [
        answering(200, "<html>oauth_token=72157-hunter2</html>").await,
        answering(400, "oauth_problem=token_rejected&oauth_token=72157-hunter2").await,
        answering(401, DEBUG).await,
        answering(
            403,
            r#"{"stat":"fail","code":98,"message":"oauth_token 72157-hunter2"}"#,
        )
        .await,
        answering(
            200,
            r#"{"stat":"fail","code":98,"message":"oauth_token 72157-hunter2"}"#,
        )
        .await,
        answering(429, DEBUG).await,
        answering(500, DEBUG).await,
        nobody().await,
    ] {
        for error in of_flickr(origin).await {
            let fault = Fault {
                said: error.to_string(),
                problem: flickr_problem(&error),
            };
            check(fault).await;
        }
    }
}

type Work = fn() -> Result<StatusCode, Problem>;

#[tokio::test]
async fn nothing_of_what_a_panic_says_is_told() {
    let with_text: Work = || panic!("flickrhub.jobs: client_id hunter2");
    let with_text_of_its_own: Work = || panic!("{}@hub-mongodb-0:27017", "hunter2".to_owned());
    let with_a_value: Work = || std::panic::panic_any(27017);
    for work in [with_text, with_text_of_its_own, with_a_value] {
        let handler = get(move || async move { work() });
        let task = get(move |State(state): State<AppState>| async move {
            state.to_the_end(async move { work() }).await
        });
        for route in [handler, task] {
            let routes = Router::<AppState>::new().route("/api/v1/fault", route);
            let router = surrounded(routes, state());
            assert_eq!(tells_nothing(&router, ask(), &SECRETS).await, 500);
        }
    }
}

#[tokio::test]
async fn nothing_of_what_a_client_sent_is_repeated_by_a_parser() {
    let router = app(state()).expect("a router");
    for (path, body) in [
        ("/api/v1/jobs", r#"{"user_id": "hunter2", "method": hunter2}"#),
        ("/api/v1/jobs", r#"{"user_id": "hunter2"} hunter2"#),
        ("/api/v1/jobs", r#"{"user_id": "hunter2\x"}"#),
        ("/api/v1/jobs", r#"{"user_id": ["hunter2"]}"#),
        (
            "/api/v1/jobs",
            r#"{"user_id": "1@N01", "method": "flickr.test.echo", "params": "hunter2"}"#,
        ),
        (
            "/api/v1/jobs",
            r#"{"user_id": "1@N01", "method": "flickr.test.echo", "expires_in": "hunter2"}"#,
        ),
        (
            "/api/v1/jobs",
            r#"{"user_id": "1@N01", "method": "flickr.test.echo", "priority": "hunter2"}"#,
        ),
        ("/api/v1/jobs", r#"{"user_id": "hunter2", "user_id": "hunter2"}"#),
        ("/api/v1/jobs/batch", r#"{"jobs": "hunter2"}"#),
        ("/api/v1/oauth/start", r#"{"permission": "hunter2"}"#),
        (
            "/api/v1/oauth/start",
            r#"{"permission": "read", "return_url": "hunter2"}"#,
        ),
        (
            "/api/v1/callbacks/secret/rotate",
            r#"{"overlap_seconds": "hunter2"}"#,
        ),
        ("/api/v1/callbacks/endpoints/enable", r#"{"url": "hunter2"}"#),
    ] {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("Authorization", "Bearer fh_writer_secret")
            .header("Content-Type", "application/json")
            .body(Body::from(body));
        let status = tells_nothing(&router, request.expect("a request"), &["hunter2"]).await;
        assert!(matches!(status, 400 | 422), "{path} {body}: {status}");
    }
}
