#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use kube::client::Body;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::super::front_proxy::tests::{Layer, layer};
use super::*;
use crate::own_certificate::serving::Serving;

const HOST: &str = "flickrhub-operator.flickrhub-system.svc";
const METRIC: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/photos/flickrhub_queue_backlog?labelSelector=hub%3Dgallery";

/// An API server that allows everything to `hpa` and has no hub.
fn client() -> Client {
    let service = tower::service_fn(|request: Request<Body>| async move {
        let (head, body) = request.into_parts();
        let (status, answer) = if head.uri.path().ends_with("/subjectaccessreviews") {
            let mut review: Value = serde_json::from_slice(&body.collect_bytes().await.unwrap()).unwrap();
            review["status"] = json!({"allowed": review["spec"]["user"] == "hpa"});
            (StatusCode::CREATED, review)
        } else {
            (
                StatusCode::NOT_FOUND,
                answer::failure(StatusCode::NOT_FOUND, "not found"),
            )
        };
        let mut response = Response::new(Full::<Bytes>::from(answer.to_string()));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    Client::new(service, "default")
}

/// A server for an aggregation layer, with the CA of its certificate.
async fn server(layer: &Layer) -> (SocketAddr, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let serving = Serving::issue(&[HOST.to_owned()], None, Timestamp::now()).unwrap();
    let ca = serving.ca_bundle.clone();
    let credentials = Credentials {
        serving,
        proxy: FrontProxy::read(&layer.map).unwrap(),
    };
    let ready = Arc::new(Ready::new(&credentials).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = Arc::new(Api {
        access: Access::new(client()),
        backlogs: Backlogs::new(client(), "cluster.local"),
    });
    tokio::spawn(async move {
        let (_publish, ready) = watch::channel(Some(ready));
        accept(&listener, &api, ready).await
    });
    (address, ca)
}

fn connector(ca: &str, layer: Option<&Layer>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match layer {
        Some(layer) => config
            .with_client_auth_cert(vec![layer.certificate.clone()], layer.key.clone_key())
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    TlsConnector::from(Arc::new(config))
}

/// The status and the document that a request of `user` is answered with; an error if there is no answer.
async fn get(
    (address, ca): &(SocketAddr, String),
    layer: Option<&Layer>,
    user: &str,
    path: &str,
) -> std::io::Result<(u16, Value)> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(HOST).unwrap();
    let mut stream = connector(ca, layer).connect(name, stream).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nX-Remote-User: {user}\r\nX-Remote-Group: {user}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, serde_json::from_str(body).unwrap()))
}

#[tokio::test]
async fn the_aggregation_layer_is_answered() {
    let layer = layer("front-proxy");
    let server = server(&layer).await;
    let path = "/apis/external.metrics.k8s.io/v1beta1";
    let (status, document) = get(&server, Some(&layer), "system:masters", path).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(document["resources"][0]["name"], "flickrhub_queue_backlog");
}

#[tokio::test]
async fn nobody_else_is_talked_to() {
    let layer_of_ours = layer("front-proxy");
    let server = server(&layer_of_ours).await;
    let path = "/apis/external.metrics.k8s.io/v1beta1";
    assert!(get(&server, None, "system:masters", path).await.is_err());
    let of_another_ca = layer("front-proxy");
    assert!(
        get(&server, Some(&of_another_ca), "system:masters", path)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_certificate_of_the_same_ca_with_another_name_is_refused() {
    let layer = layer("another");
    let server = server(&layer).await;
    let (status, _) = get(&server, Some(&layer), "system:masters", "/readyz")
        .await
        .unwrap();
    assert_eq!(status, 401);
}

#[tokio::test]
async fn the_right_to_a_metric_is_asked_for() {
    let layer = layer("front-proxy");
    let server = server(&layer).await;
    let (status, refusal) = get(&server, Some(&layer), "mallory", METRIC).await.unwrap();
    assert_eq!(
        (status, refusal["reason"].as_str()),
        (403, Some("Forbidden")),
        "{refusal}"
    );
    let (status, missing) = get(&server, Some(&layer), "hpa", METRIC).await.unwrap();
    assert_eq!(status, 404);
    assert_eq!(
        missing["message"],
        "there is no FlickrHub \"gallery\" in namespace \"photos\""
    );
}
