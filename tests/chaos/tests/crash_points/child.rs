//! A process of the hub, built with fail-points.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flickrhub_e2e::setting;
use flickrhub_job::fail_point::VARIABLE;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a process may take to come to the point at which it is to die: recovery alone begins 45 s after its start.
const PATIENCE: Duration = Duration::from_secs(90);

/// SIGABRT.
const ABORTED: i32 = 6;

/// A running process; it is killed when this is dropped.
pub(crate) struct Child {
    process: tokio::process::Child,
    /// What it logs.
    log: PathBuf,
    /// What it says beside that. Apart: fail-points and logs of several threads write at the same time.
    said: PathBuf,
}

impl Child {
    /// Starts a program with its log in `folder`, and these fail-points armed.
    pub(crate) fn start(program: &str, arguments: &[&str], folder: &Path, points: &str) -> Self {
        let path = Path::new(&setting("FLICKRHUB_FAIL_POINTS_BIN")).join(program);
        let number = std::fs::read_dir(folder).unwrap().count();
        let log = folder.join(format!("{number}-{program}.log"));
        let said = log.with_extension("stderr");
        let process = Command::new(&path)
            .args(arguments)
            .env(VARIABLE, points)
            .stdin(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .stdout(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { process, log, said }
    }

    /// Waits until it has died at this point, and not otherwise.
    pub(crate) async fn dies_at(mut self, point: &str) {
        let died = timeout(PATIENCE, self.process.wait()).await;
        let log = std::fs::read_to_string(&self.log).unwrap();
        let end = &log[log.len().saturating_sub(3000)..];
        let status = died
            .unwrap_or_else(|_| panic!("it does not come to {point}: {end}"))
            .unwrap();
        assert_eq!(status.signal(), Some(ABORTED), "{point}: {status}, {end}");
        let said = std::fs::read_to_string(&self.said).unwrap();
        assert!(
            said.contains(&format!("fail point {point}: Abort")),
            "{point}: {said}, {end}"
        );
    }

    /// Kills it, as anything may at any time.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}
