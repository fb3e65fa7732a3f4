//! Real servers on loopback, stopped when the test ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use flickrhub_operator::part::PartStatus;

/// A running server.
pub(crate) struct Server(Child);

impl Server {
    /// Starts a program; its output goes to `<folder>/<name>.log`.
    pub(crate) fn start(program: &str, arguments: &[&str], folder: &Path, name: &str) -> Self {
        let log = std::fs::File::create(folder.join(format!("{name}.log"))).expect("the log can be created");
        let child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a file handle can be cloned"))
            .stdout(log)
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    /// Kills it without warning.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder that is deleted when the test ends.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new, empty one.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flickrhub-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A new folder in it.
    pub(crate) fn subfolder(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(&path).expect("a folder can be made");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners =
        std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it listens").port())
}

/// Repeats a reconciliation, as the controller would, until the part is ready; fails after two minutes.
pub(crate) async fn until_ready(mut reconcile: impl AsyncFnMut() -> PartStatus) -> PartStatus {
    let mut last = None;
    for _ in 0..240 {
        let status = reconcile().await;
        if status.ready {
            return status;
        }
        if last.as_ref() != Some(&status.message) {
            eprintln!("{}: {}", status.reason, status.message);
        }
        last = Some(status.message);
        tokio::time::sleep(
            status
                .requeue_after
                .unwrap_or(Duration::from_millis(500))
                .min(Duration::from_secs(1)),
        )
        .await;
    }
    panic!("not ready: {last:?}");
}
