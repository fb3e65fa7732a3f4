//! A process of the operator: what it says of itself at `/metrics`, and what Linux says of it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::Failure;
use crate::histogram::Histogram;

/// Clock ticks in a second, as `/proc` counts (`USER_HZ`, 100 on every architecture that Kubernetes runs on).
const TICKS: f64 = 100.0;
/// The size of a page that `statm` counts.
const PAGE: f64 = 4096.0;

/// A process of the operator. It is killed when this is dropped.
pub(crate) struct Operator {
    process: Child,
    metrics: String,
    http: reqwest::Client,
}

/// CPU time at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime {
    at: Instant,
    seconds: f64,
}

impl Operator {
    pub(crate) async fn start(
        program: &Path,
        kubeconfig: &Path,
        log: &Path,
        name: &str,
        version: &str,
    ) -> Result<Self, Failure> {
        // A port that is free now; nothing else on a machine that measures takes one in between.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let output = std::fs::File::create(log)?;
        let process = Command::new(program)
            .args(["run", "--metrics-address", &format!("127.0.0.1:{port}")])
            .env("KUBECONFIG", kubeconfig)
            // No such names resolve (RFC 6761), so nothing asks the machine's network for the engines.
            .env("CLUSTER_DOMAIN", "invalid")
            .env("HUB_VERSION", version)
            .env("POD_NAME", name)
            .env("POD_NAMESPACE", "flickrhub-system")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let operator = Self {
            process,
            metrics: format!("http://127.0.0.1:{port}/metrics"),
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(5))
                .build()?,
        };
        for _ in 0..200 {
            if operator.metrics().await.is_ok() {
                return Ok(operator);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the operator does not start; see {}", log.display()).into())
    }

    async fn metrics(&self) -> Result<String, Failure> {
        Ok(self.http.get(&self.metrics).send().await?.text().await?)
    }

    /// Whether it leads.
    pub(crate) async fn leads(&self) -> bool {
        let metrics = self.metrics().await.unwrap_or_default();
        metrics
            .lines()
            .any(|line| line.trim() == "flickrhub_operator_leader 1")
    }

    /// Waits until it leads, at most a minute.
    ///
    /// # Errors
    /// When it does not come to lead.
    pub(crate) async fn wait_to_lead(&self) -> Result<(), Failure> {
        for _ in 0..1200 {
            if self.leads().await {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("the operator does not come to lead".into())
    }

    /// How long reconciliations took, over all that it did.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn reconciliations(&self) -> Result<Histogram, Failure> {
        let metrics = self.metrics().await?;
        Ok(Histogram::of(
            &metrics,
            "flickrhub_operator_reconciliation_seconds",
        ))
    }

    fn proc(&self, file: &str) -> Result<String, Failure> {
        let id = self.process.id().ok_or("the operator has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{id}/{file}"))?)
    }

    /// Resident memory in MiB.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn resident_mib(&self) -> Result<f64, Failure> {
        let statm = self.proc("statm")?;
        let pages: f64 = statm.split(' ').nth(1).unwrap_or_default().parse()?;
        Ok(pages * PAGE / (1024.0 * 1024.0))
    }

    /// The CPU time that it has spent.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn cpu(&self) -> Result<CpuTime, Failure> {
        let stat = self.proc("stat")?;
        // The name of the program, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("/proc/…/stat is no such file")?;
        // One that nobody has waited for is still there.
        if fields.trim_start().starts_with('Z') {
            return Err("the operator has ended; see its log".into());
        }
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Vec<f64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        Ok(CpuTime {
            at: Instant::now(),
            seconds: ticks.iter().sum::<f64>() / TICKS,
        })
    }

    /// Ends it at once (SIGKILL).
    ///
    /// # Errors
    /// When it has ended already.
    pub(crate) async fn kill(mut self) -> Result<(), Failure> {
        Ok(self.process.kill().await?)
    }
}

impl CpuTime {
    /// CPU time between two moments, milliseconds.
    pub(crate) fn ms_until(self, later: Self) -> f64 {
        1000.0 * (later.seconds - self.seconds)
    }

    /// Thousandths of a core between two moments.
    pub(crate) fn millicores_until(self, later: Self) -> f64 {
        let elapsed = later.at.duration_since(self.at).as_secs_f64();
        1000.0 * (later.seconds - self.seconds) / elapsed.max(f64::MIN_POSITIVE)
    }
}
