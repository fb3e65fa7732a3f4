//! `bench-operator`: what the operator costs, how fast it is and how well it keeps a hub as it should be, measured on an
//! optimised build against a real API server without nodes: `make bench-operator` starts both.
//!
//! Writes are counted by the API server's audit log, not by the operator.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

mod audit;
mod cluster;
mod field;
mod histogram;
mod hubs;
mod pause;
mod process;
mod repair;
mod rest;
mod server;
mod takeover;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use flickrhub_bench::report::Report;

use crate::cluster::Cluster;
use crate::server::Server;

/// Why a bench could not be finished: a command tells it and ends.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the operator. Without a name, every bench runs.
#[derive(Clone, Debug, Parser)]
#[command(version)]
struct Options {
    /// The benches to run.
    benches: Vec<Bench>,
    /// The operator's program.
    #[arg(long)]
    operator: PathBuf,
    /// What starts and stops API servers; each bench has one of its own.
    #[arg(long, default_value = "tests/lab/api-server")]
    api_server: PathBuf,
    /// Numbers of resources, in ascending order.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 500])]
    resources: Vec<usize>,
    /// How long the operator is watched doing nothing, for each number of resources.
    #[arg(long, default_value_t = 120)]
    idle_seconds: u64,
    /// Where the figures are appended, one JSON object a line.
    #[arg(long, default_value = "target/bench/operator.jsonl")]
    out: PathBuf,
}

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Bench {
    /// What many resources cost at rest, when they change and when the operator begins anew.
    Rest,
    /// How soon another process leads after the leader was killed.
    Takeover,
    /// How soon every field of every child is back after it was changed, and every child after it was deleted.
    Repair,
    /// That a paused hub is left as it is.
    Pause,
    /// That a new version of the operator restarts no pod before the resource allows it.
    Upgrade,
}

impl Bench {
    const ALL: [Self; 5] = [
        Self::Pause,
        Self::Upgrade,
        Self::Repair,
        Self::Takeover,
        Self::Rest,
    ];
}

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Options::parse()).await {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("failed: {failed:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benches; answers those that failed.
async fn run(options: Options) -> Result<Vec<Bench>, Failure> {
    let mut report = Report::to_file(&options.out)?;
    let chosen = if options.benches.is_empty() {
        Bench::ALL.to_vec()
    } else {
        options.benches.clone()
    };
    let mut failed = Vec::new();
    for bench in chosen {
        eprintln!("{bench:?} …");
        let server = Server::start(&options.api_server, &format!("{bench:?}")).await?;
        let cluster = Cluster::connect(server.folder(), &options.operator).await?;
        let outcome = tokio::select! {
            outcome = run_one(bench, &cluster, &options, &mut report) => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        };
        server.stop().await?;
        if let Err(error) = outcome {
            eprintln!("{bench:?}: {error}");
            failed.push(bench);
        }
    }
    println!("\n{}", report.table());
    Ok(failed)
}

async fn run_one(
    bench: Bench,
    cluster: &Cluster,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    match bench {
        Bench::Rest => rest::run(cluster, options, report).await,
        Bench::Takeover => takeover::run(cluster, report).await,
        Bench::Repair => repair::run(cluster, report).await,
        Bench::Pause => pause::run(cluster, report).await,
        Bench::Upgrade => upgrade::run(cluster, report).await,
    }
}
