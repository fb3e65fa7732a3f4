//! Another certificate authority while clients submit jobs: no request fails, a client that reads the authorities anew is
//! never shown a certificate that it does not know, and in the end nothing shows one of the old authority.
//!
//! Tests of single crates connect to the engines of the hub, too. They are given the new authority at the end.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flickrhub_e2e::cluster::{self, authorities, condition, hubs, ready};
use flickrhub_e2e::load::Load;
use flickrhub_e2e::{eventually, scene, setting, tls};
use kube::Client;
use kube::api::{Patch, PatchParams};
use reqwest::Certificate;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// Every pod starts anew twice, and the kubelet takes a minute or two to bring certificates into pods.
const REPLACED_WITHIN: Duration = Duration::from_mins(20);
const MEMBERS: usize = 3;
/// The engines, each with the Service of its members and the ports that speak TLS.
const ENGINES: [(&str, &str, &[u16]); 4] = [
    ("redis", "redis", &[6379, 26379]),
    ("mongodb", "mongodb", &[27017]),
    ("rabbitmq", "rabbitmq-nodes", &[5671, 15671]),
    ("vault", "vault-nodes", &[8200]),
];

fn count(authorities: &str) -> usize {
    CertificateDer::pem_slice_iter(authorities.as_bytes()).count()
}

/// Everything that shows a certificate inside of the hub: names and ports.
fn servers() -> Vec<(String, u16)> {
    let (hub, namespace) = (cluster::hub(), cluster::namespace());
    let mut servers = vec![(format!("{hub}-api.{namespace}.svc.cluster.local"), 443)];
    for (engine, service, ports) in ENGINES {
        for member in 0..MEMBERS {
            let host = cluster::member(engine, service, member);
            servers.extend(ports.iter().map(|port| (host.clone(), *port)));
        }
    }
    servers
}

/// Whether these authorities vouch for what a server shows.
fn vouch(authorities: &str, host: &str, port: u16) -> Result<(), String> {
    let mut connection = tls::connection(authorities, host);
    let mut socket = TcpStream::connect((host, port)).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        let done = connection.complete_io(&mut socket);
        done.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A client that reads the authorities before each request, until it is told to stop: how many requests it made.
async fn read_anew(client: Client, stop: Arc<AtomicBool>) -> usize {
    let url = format!(
        "https://{}-api.{}.svc/readyz",
        cluster::hub(),
        cluster::namespace()
    );
    let mut requests = 0;
    while !stop.load(Ordering::Relaxed) {
        let trusted = Certificate::from_pem_bundle(authorities(&client).await.as_bytes()).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only(trusted)
            .build()
            .unwrap();
        let answer = http.get(&url).send().await.expect("it knows what it is shown");
        assert!(answer.status().is_success(), "{}", answer.status());
        requests += 1;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    requests
}

/// Gives the new authority to the configuration of integration tests.
fn tell_the_other_tests(authorities: &str) {
    let text = std::fs::read_to_string(setting("FLICKRHUB_TEST_CONFIG")).unwrap();
    let config: Value = serde_yaml_ng::from_str(&text).unwrap();
    for part in ["redis", "mongodb", "rabbitmq", "vault"] {
        std::fs::write(config[part]["caFile"].as_str().unwrap(), authorities).unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a hub: make test"]
async fn another_authority_takes_over_and_no_request_fails() {
    scene::play(|scene| async move {
        let hubs = hubs(&scene.client, &cluster::namespace());
        let name = cluster::hub();
        ready(&hubs, &name, Duration::from_mins(5)).await;
        let user = scene.authorise("authority", "read").await;
        let old = authorities(&scene.client).await;
        assert_eq!(count(&old), 1, "another authority is on its way already");

        let load = Load::start(&scene.gateway, &user);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read_anew(scene.client.clone(), Arc::clone(&stop)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = tokio::time::Instant::now();
        let wish = json!({"metadata": {"annotations": {
            "flickrhub.dev/rotate-authority": scene::unique("wish"),
        }}});
        hubs.patch(&name, &PatchParams::default(), &Patch::Merge(wish))
            .await
            .expect("the wish is noted");
        eventually("both are trusted", Duration::from_mins(1), || async {
            (count(&authorities(&scene.client).await) == 2).then_some(())
        })
        .await;
        let new = eventually("the old one is trusted no more", REPLACED_WITHIN, || async {
            let trusted = authorities(&scene.client).await;
            (count(&trusted) == 1 && trusted != old).then_some(trusted)
        })
        .await;
        eprintln!("the new one took over after {:?}", began.elapsed());
        eventually("pods are started anew", Duration::from_mins(1), || async {
            let ready = condition(&hubs.get(&name).await.ok()?, "Ready")?;
            (ready.status != "True").then_some(())
        })
        .await;
        ready(&hubs, &name, Duration::from_mins(8)).await;
        eprintln!("every pod was started anew after {:?}", began.elapsed());
        tokio::time::sleep(Duration::from_secs(3)).await;

        tell_the_other_tests(&new);
        stop.store(true, Ordering::Relaxed);
        let requests = reader.await.expect("a client that reads the authorities anew");
        assert!(requests > 0);
        eprintln!("{requests} requests by a client that reads the authorities anew");
        load.end(&scene.gateway).await;
        let shown = tokio::task::spawn_blocking(move || {
            for (host, port) in servers() {
                vouch(&new, &host, port).unwrap_or_else(|why| panic!("{host}:{port}: {why}"));
                let refused = vouch(&old, &host, port).expect_err(&host);
                assert!(refused.contains("certificate"), "{host}:{port}: {refused}");
            }
        });
        shown
            .await
            .expect("every server shows a certificate of the new authority alone");
    })
    .await;
}
