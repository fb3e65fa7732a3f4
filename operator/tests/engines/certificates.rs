//! Certificates of an authority of our own on real servers, and other ones while they run. `FLICKRHUB_TEST_MONGOD` is the path
//! of `mongod`, `FLICKRHUB_TEST_REDIS` that of `redis-server`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flickrhub_job::connection::redis::client;
use flickrhub_job::connection::trust::Trust;
use flickrhub_operator::engine::certificates::shown;
use flickrhub_operator::engine::mongodb::{Desired, Members, reconcile_desired};
use flickrhub_operator::pki::{Authority, Leaf};
use jiff::Timestamp;
use redis::RedisConnectionInfo;
use secrecy::ExposeSecret;

use crate::database::{KEY, desired, start_member_with, write_key};
use crate::servers::{Folder, Server, free_ports, until_ready};

/// An authority, and the files of a server that it vouches for.
struct Certificates {
    authority: Authority,
    trust: Trust,
    folder: PathBuf,
}

impl Certificates {
    fn new(folder: &Path) -> Self {
        let authority = Authority::generate(&["localhost"], Timestamp::now()).expect("an authority");
        let trust = Trust::from_pem(authority.certificate()).expect("it is one");
        std::fs::write(folder.join("ca.crt"), trust.pem()).expect("written");
        Self {
            authority,
            trust,
            folder: folder.to_owned(),
        }
    }

    /// Issues another certificate and puts it where the server reads it.
    fn issue(&self) -> Leaf {
        let names = ["localhost".to_owned()];
        let leaf = self
            .authority
            .issue("a-test", &names, Timestamp::now())
            .expect("issued");
        let key = leaf.key.expose_secret();
        let write = |file: &str, text: &str| std::fs::write(self.folder.join(file), text).expect("written");
        write("tls.crt", &leaf.certificate);
        write("tls.key", key);
        write("tls-combined.pem", &format!("{}{key}", leaf.certificate));
        leaf
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// Waits until a server shows this certificate to whoever trusts the authority.
async fn until_shown(port: u16, leaf: &Leaf, trust: &Trust) {
    for _ in 0..100 {
        if shown("localhost", port, trust).await.ok() == leaf.der() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server does not show the certificate");
}

#[tokio::test]
#[ignore = "needs the mongod program: FLICKRHUB_TEST_MONGOD"]
async fn mongodb_takes_up_another_certificate_while_it_runs() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let folder = Folder::new("mongodb-tls");
    let certificates = Certificates::new(folder.path());
    let first = certificates.issue();
    write_key(&folder, KEY);
    let [port] = free_ports();
    let (combined, authorities) = (certificates.file("tls-combined.pem"), certificates.file("ca.crt"));
    let arguments = [
        "--tlsMode",
        "requireTLS",
        "--tlsCertificateKeyFile",
        &combined,
        "--tlsCAFile",
        &authorities,
        "--tlsAllowConnectionsWithoutCertificates",
    ];
    let _member = start_member_with(&folder, "mongod", port, &arguments);
    let desired = Desired {
        hosts: vec![format!("localhost:{port}")],
        trust: Some(certificates.trust.clone()),
        ..desired(&[port])
    };
    until_ready(async || reconcile_desired(&desired).await).await;
    until_shown(port, &first, &certificates.trust).await;

    for (name, trust) in [
        ("nobody", None),
        (
            "another authority",
            Some(Certificates::new(&folder.subfolder("other")).trust),
        ),
    ] {
        let stranger = Desired {
            trust,
            ..desired.clone()
        };
        assert!(!reconcile_desired(&stranger).await.ready, "{name} is trusted");
    }
    let by_address = shown("127.0.0.1", port, &certificates.trust).await;
    assert!(by_address.is_err(), "the certificate is not for this name");

    let second = certificates.issue();
    let members = Members::new(&desired);
    members
        .rotate_certificate(&desired.hosts[0])
        .await
        .expect("it obeys");
    until_shown(port, &second, &certificates.trust).await;
    assert!(reconcile_desired(&desired).await.ready);
}

#[tokio::test]
#[ignore = "needs the redis-server program: FLICKRHUB_TEST_REDIS"]
async fn redis_takes_up_another_certificate_while_it_runs() {
    let program = std::env::var("FLICKRHUB_TEST_REDIS").expect("FLICKRHUB_TEST_REDIS names redis-server");
    let folder = Folder::new("redis-tls");
    let certificates = Certificates::new(folder.path());
    let first = certificates.issue();
    let [port] = free_ports();
    let files = ["tls.crt", "tls.key", "ca.crt"].map(|file| certificates.file(file));
    let settings = format!(
        "port 0\ntls-port {port}\nbind 127.0.0.1\nrequirepass p\nsave \"\"\ntls-auth-clients no\ntls-replication yes\n\
         tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
        files[0], files[1], files[2]
    );
    let file = folder.path().join("redis.conf");
    std::fs::write(&file, settings).expect("written");
    let _server = Server::start(&program, &[&file.display().to_string()], folder.path(), "redis");
    until_shown(port, &first, &certificates.trust).await;

    let login = RedisConnectionInfo::default().set_password("p");
    let client = client(("localhost".to_owned(), port), login, Some(&certificates.trust)).expect("a client");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("connected");
    let second = certificates.issue();
    // As the script in the pod does it.
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("tls-ca-cert-file").arg(&files[2]);
    set.arg("tls-cert-file")
        .arg(&files[0])
        .arg("tls-key-file")
        .arg(&files[1]);
    let () = set.query_async(&mut connection).await.expect("it obeys");
    until_shown(port, &second, &certificates.trust).await;
    let () = redis::cmd("PING")
        .query_async(&mut connection)
        .await
        .expect("the open connection goes on");
}
