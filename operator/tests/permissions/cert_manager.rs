//! Hubs whose certificates cert-manager issues. It is played here: by what its API documents, and Secrets as it writes them.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flickrhub_operator::context::Context;
use flickrhub_operator::pki::Authority;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::{NAMESPACE, bring_on, context, hub, put_hub, role};

/// Another issuer is named, and cert-manager asked for certificates.
pub(crate) async fn is_asked(server: &ApiServer, ctx: &Context) {
    server.change("flickrhubs", "gallery", |hub| {
        hub["spec"]["tls"] = json!({"issuerRef": {"name": "internal"}});
    });
    bring_on(ctx).await;
    assert_eq!(server.names("certificates").len(), 6);
    // Its own are kept by the servers until the others are issued.
    bring_on(ctx).await;
    server.change("flickrhubs", "gallery", |hub| hub["spec"]["tls"] = json!({}));
}

/// What cert-manager puts into the Secret of a `Certificate`.
fn put_issued(server: &ApiServer, authority: &Authority, certificate: &str) {
    let (mut names, mut secret) = (Vec::new(), String::new());
    server.change("certificates", certificate, |certificate| {
        let spec = &certificate["spec"];
        names = serde_json::from_value(spec["dnsNames"].clone()).expect("names");
        spec["secretName"]
            .as_str()
            .expect("a name")
            .clone_into(&mut secret);
        certificate["status"] =
            json!({"conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]});
    });
    let leaf = authority
        .issue("server", &names, Timestamp::now())
        .expect("issued");
    let encoded = |text: &str| STANDARD.encode(text);
    let data = json!({
        "tls.crt": encoded(&leaf.certificate),
        "tls.key": encoded(leaf.key.expose_secret()),
        "ca.crt": encoded(authority.certificate()),
    });
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": secret, "namespace": NAMESPACE}, "data": data});
    server.put("", "v1", "secrets", secret);
}

/// The reason and the message of a condition of the hub.
fn condition(server: &ApiServer, kind: &str) -> (String, String) {
    let mut found = Value::Null;
    server.change("flickrhubs", "gallery", |hub| {
        let conditions = hub["status"]["conditions"].as_array().expect("conditions");
        let of_kind = conditions.iter().find(|condition| condition["type"] == kind);
        found = of_kind.expect("the condition").clone();
    });
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

#[tokio::test]
async fn a_hub_waits_for_cert_manager_and_shows_what_it_issued() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = ApiServer::new(role::of_manifests());
    let ctx = context(&server);
    let mut hub = hub();
    hub["spec"]["tls"] = json!({"issuerRef": {"name": "internal", "kind": "ClusterIssuer"}});
    put_hub(&server, hub);
    bring_on(&ctx).await;
    assert_eq!(
        server.names("statefulsets"),
        [""; 0],
        "nothing starts without a certificate"
    );
    let (reason, message) = condition(&server, "CertificatesReady");
    assert_eq!(reason, "IssuerPending");
    assert!(message.contains("ClusterIssuer \"internal\""), "{message}");
    assert!(
        !server.names("secrets").contains(&"gallery-ca".to_owned()),
        "it issues nothing itself"
    );

    let authority = Authority::generate(&["invalid", "photos.svc", "localhost"], Timestamp::now());
    let authority = authority.expect("an authority");
    let redis = "gallery-redis-tls";
    put_issued(&server, &authority, redis);
    bring_on(&ctx).await;
    assert_eq!(server.names("statefulsets"), ["gallery-redis"]);
    for certificate in server.names("certificates") {
        put_issued(&server, &authority, &certificate);
    }
    bring_on(&ctx).await;
    assert_eq!(server.names("statefulsets").len(), 4);
    assert_eq!(condition(&server, "CertificatesReady").0, "Issued");
    let mut shown = Value::Null;
    server.change("secrets", redis, |secret| shown = secret["data"].clone());
    for key in ["tls.crt", "tls.key", "tls-combined.pem", "ca.crt"] {
        assert!(shown[key].is_string(), "{key}");
    }
    let authorities = STANDARD
        .decode(shown["ca.crt"].as_str().expect("text"))
        .expect("base64");
    assert_eq!(
        String::from_utf8(authorities)
            .expect("PEM")
            .matches("BEGIN")
            .count(),
        1
    );

    // Renewed by the same authority: shown at once.
    put_issued(&server, &authority, redis);
    bring_on(&ctx).await;
    let before = shown["tls.crt"].clone();
    server.change("secrets", redis, |secret| {
        assert_ne!(secret["data"]["tls.crt"], before);
    });
    // By another one: not before every pod was started with it.
    server.change("secrets", redis, |secret| shown = secret["data"].clone());
    let other = Authority::generate(&["invalid", "photos.svc", "localhost"], Timestamp::now());
    put_issued(&server, &other.expect("an authority"), redis);
    bring_on(&ctx).await;
    server.change("secrets", redis, |secret| {
        assert_eq!(secret["data"]["tls.crt"], shown["tls.crt"]);
        assert_ne!(secret["data"]["ca.crt"], shown["ca.crt"], "it is trusted already");
    });
    assert_eq!(server.denied(), BTreeSet::new());
}
