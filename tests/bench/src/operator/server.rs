//! An API server of a bench's own, with the operator's resource types and rights.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::Failure;

/// A running API server.
pub(crate) struct Server {
    script: PathBuf,
    folder: PathBuf,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not start, or refuses what the operator needs.
    pub(crate) async fn start(script: &Path, name: &str) -> Result<Self, Failure> {
        let folder = format!("flickrhub-bench-{}-{}", std::process::id(), name.to_lowercase());
        let server = Self {
            script: script.to_owned(),
            folder: std::env::temp_dir().join(folder),
        };
        let started = async {
            server.call("start", &[]).await?;
            server
                .call("kubectl", &["apply", "--server-side", "-f", "crds"])
                .await?;
            // Its service account, role and lease; there is nobody to run its Deployment.
            let operator = ["apply", "--server-side", "-k", "manifests/operator"];
            server.call("kubectl", &operator).await
        };
        match started.await {
            Ok(()) => Ok(server),
            Err(error) => {
                server.stop().await?;
                Err(error)
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops it and removes what it leaves.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.call("stop", &[]).await
    }

    async fn call(&self, command: &str, arguments: &[&str]) -> Result<(), Failure> {
        let output = Command::new(&self.script)
            .arg(command)
            .arg(&self.folder)
            .args(arguments)
            .output()
            .await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} {command}: {said}", self.script.display()).into())
    }
}
