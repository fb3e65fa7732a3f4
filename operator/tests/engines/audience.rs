//! What a role of a real OpenBao makes of the audience of a token: the roles of a managed OpenBao let pods of an older version
//! of the operator in until they demand the audience. `FLICKRHUB_TEST_BAO` is the path of the `bao` program.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flickrhub_operator::engine::vault::{Desired, Setting, SettingState, wanted_settings};
use flickrhub_operator::pki::Authority;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bao::{Bao, desired};
use crate::servers::Folder;

/// Whom the tokens are for that the Kubernetes API accepts.
const KUBERNETES: &str = "https://kubernetes.default.svc.cluster.local";
const PROCESSES: [&str; 3] = ["gallery-api", "gallery-worker", "gallery-callbacks"];

/// A token of a service account, with a signature that only the Kubernetes API could check.
fn token(account: &str, audience: &str) -> String {
    let part = |content: &Value| URL_SAFE_NO_PAD.encode(content.to_string());
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": KUBERNETES, "aud": [audience], "iat": now, "nbf": now, "exp": now + 3600,
        "sub": format!("system:serviceaccount:photos:{account}"),
        "kubernetes.io": {
            "namespace": "photos",
            "serviceaccount": {"name": account, "uid": format!("uid-of-{account}")},
        },
    });
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "1"});
    format!(
        "{}.{}.{}",
        part(&header),
        part(&claims),
        URL_SAFE_NO_PAD.encode("signature")
    )
}

/// A review of a token as the Kubernetes API makes it: it is authentic for those of the audiences asked for that it has; asked
/// for none, for the Kubernetes API.
fn review(asked: &Value) -> Value {
    let claims = asked["spec"]["token"]
        .as_str()
        .and_then(|token| token.split('.').nth(1));
    let claims = claims
        .and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok())
        .expect("claims");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    let of_api = vec![json!(KUBERNETES)];
    let wanted = asked["spec"]["audiences"].as_array().unwrap_or(&of_api);
    let audiences = claims["aud"].as_array().expect("audiences").iter();
    let audiences: Vec<&Value> = audiences.filter(|audience| wanted.contains(audience)).collect();
    let account = &claims["kubernetes.io"]["serviceaccount"];
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": asked["spec"],
        "status": {
            "authenticated": !audiences.is_empty(), "audiences": audiences,
            "user": {"username": claims["sub"], "uid": account["uid"]},
        },
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let asked = serde_json::from_slice(&body).expect("JSON");
    let mut response = Response::new(Full::from(review(&asked).to_string()));
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// A Kubernetes API that reviews tokens; answers its address.
async fn kubernetes() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it listens");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    format!("http://{address}")
}

fn roles(binds_audience: bool) -> Vec<Setting> {
    let desired = Desired {
        binds_audience,
        ..desired(Vec::new())
    };
    let mut settings = wanted_settings(&desired);
    settings.retain(|setting| setting.read_path.starts_with("auth/kubernetes/role/"));
    assert_eq!(settings.len(), PROCESSES.len());
    settings
}

async fn states(bao: &Bao, roles: &[Setting]) -> Vec<SettingState> {
    let mut states = Vec::new();
    for role in roles {
        states.push(role.state(Some(&bao.read(&role.read_path).await)));
    }
    states
}

async fn write(bao: &Bao, roles: &[Setting]) {
    for role in roles {
        bao.write(&role.write_path, &role.wanted).await;
    }
    assert_eq!(states(bao, roles).await, [SettingState::Met; 3]);
}

/// Who is let in by a token for this audience.
async fn let_in(bao: &Bao, audience: &str) -> Vec<&'static str> {
    let mut let_in = Vec::new();
    for account in PROCESSES {
        let login = json!({"role": account, "jwt": token(account, audience)});
        let answer = bao
            .api
            .write(None, Method::POST, "auth/kubernetes/login", &login)
            .await;
        let_in.extend(answer.is_ok().then_some(account));
    }
    let_in
}

#[tokio::test]
#[ignore = "needs the bao program: FLICKRHUB_TEST_BAO"]
async fn a_role_lets_older_pods_in_until_it_demands_the_audience_and_then_only_the_others() {
    let folder = Folder::new("audience");
    let bao = Bao::start(&folder).await;
    bao.write("sys/auth/kubernetes", &json!({"type": "kubernetes"}))
        .await;
    // It is asked for, and the stand-in speaks no TLS.
    let authority = Authority::generate(&["localhost"], Timestamp::now()).expect("an authority");
    let config = json!({
        "kubernetes_host": kubernetes().await,
        "kubernetes_ca_cert": authority.certificate(),
        "disable_local_ca_jwt": true,
    });
    bao.write("auth/kubernetes/config", &config).await;

    let (bare, bound) = (roles(false), roles(true));
    write(&bao, &bare).await;
    assert_eq!(
        let_in(&bao, KUBERNETES).await,
        PROCESSES,
        "pods of an older version"
    );
    assert_eq!(let_in(&bao, "vault").await, PROCESSES, "pods of this version");
    assert_eq!(states(&bao, &bound).await, [SettingState::Unmet; 3]);

    write(&bao, &bound).await;
    assert_eq!(let_in(&bao, "vault").await, PROCESSES);
    assert_eq!(let_in(&bao, KUBERNETES).await, Vec::<&str>::new());
    assert_eq!(let_in(&bao, "another").await, Vec::<&str>::new());

    // What a role demands stays, whatever else of it is written.
    write(&bao, &bare).await;
    assert_eq!(let_in(&bao, KUBERNETES).await, Vec::<&str>::new());
    assert_eq!(states(&bao, &bound).await, [SettingState::Met; 3]);
}
