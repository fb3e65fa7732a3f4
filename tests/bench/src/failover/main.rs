//! `bench-failover`: for how long an engine takes no writes when its leader is lost, and whether a write that was
//! acknowledged is lost with it. Measured with the clients that the hub's own processes have, on a hub in the lab
//! (`make bench-failover` sees to that).
//!
//! One writer writes to one engine without pause. After a while the member that leads is lost in one of several ways. When the
//! engine is whole again, everything is read back: the longest time between two acknowledgements is the gap, and an
//! acknowledged write that is not there is lost.
//!
//! The operator writes nothing of its own: of it is measured how soon another process does the work of a leader that is lost.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

mod engine;
mod loss;
mod members;
mod takeover;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use flickrhub_bench::report::Report;
use flickrhub_e2e::{cluster, setting};
use flickrhub_job::config::Config;
use kube::Client;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::loss::Kind;
use crate::members::Members;
use crate::writer::{Written, write_until};

/// Why a bench could not be finished: a command tells it and ends.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The name of the bench in figures.
const BENCH: &str = "failover";
/// How long is written before the leader is lost, and after the engine is whole again.
const AROUND: Duration = Duration::from_secs(5);

/// Measures what the loss of an engine's leader costs.
#[derive(Clone, Debug, Parser)]
#[command(version)]
struct Options {
    /// The engines; without it, all.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Engine::ALL)]
    engines: Vec<Engine>,
    /// Leave the engines alone.
    #[arg(long)]
    only_operator: bool,
    /// Leave the operator alone.
    #[arg(long, conflicts_with = "only_operator")]
    no_operator: bool,
    /// The namespace of the operator.
    #[arg(long, default_value = "flickrhub-system")]
    operator_namespace: String,
    /// The ways in which the leader is lost; without it, all.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    kinds: Vec<Kind>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Where the figures are appended, one JSON object a line.
    #[arg(long, default_value = "target/bench/failover.jsonl")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match measure(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-failover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<(), Failure> {
    let config = Config::load(std::path::Path::new(&setting("FLICKRHUB_TEST_CONFIG")))?;
    let client = cluster::client().await;
    let mut report = Report::to_file(&options.out)?;
    let mut failed = Vec::new();
    let engines = options.engines.iter().filter(|_| !options.only_operator);
    for engine in engines {
        let members = Members::of(client.clone(), *engine);
        for kind in &options.kinds {
            for run in 1..=options.runs {
                eprintln!("{} {} {run}/{} …", engine.name(), kind.name(), options.runs);
                let labels = json!({"engine": engine.name(), "kind": kind.name(), "run": run});
                match one(&config, *engine, *kind, &members).await {
                    Ok((written, lost)) => {
                        report.figure(
                            BENCH,
                            "write_gap_s",
                            written.longest_gap().as_secs_f64(),
                            "s",
                            labels.clone(),
                        )?;
                        report.figure(BENCH, "lost_acked_writes", lost, "writes", labels)?;
                    }
                    Err(error) => {
                        eprintln!("{} {} {run}: {error}", engine.name(), kind.name());
                        failed.push(format!("{} {}", engine.name(), kind.name()));
                    }
                }
            }
        }
    }
    if !options.no_operator {
        failed.extend(takeovers(options, &client, &mut report).await?);
    }
    println!("\n{}", report.table());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("without a figure: {}", failed.join(", ")).into())
    }
}

/// Has the operator's leader be lost in each way; answers those of which there is no figure.
async fn takeovers(options: &Options, client: &Client, report: &mut Report) -> Result<Vec<String>, Failure> {
    let mut failed = Vec::new();
    for kind in options.kinds.iter().filter(|kind| **kind != Kind::Rolling) {
        for run in 1..=options.runs {
            eprintln!("operator {} {run}/{} …", kind.name(), options.runs);
            match takeover::one(client, &options.operator_namespace, *kind).await {
                Ok(took) => {
                    let labels = json!({"kind": kind.name(), "run": run});
                    report.figure(BENCH, "takeover_s", took.as_secs_f64(), "s", labels)?;
                }
                Err(error) => {
                    eprintln!("operator {} {run}: {error}", kind.name());
                    failed.push(format!("operator {}", kind.name()));
                }
            }
        }
    }
    Ok(failed)
}

/// One loss: what was written, and how many of the acknowledged writes are not there.
async fn one(
    config: &Config,
    engine: Engine,
    kind: Kind,
    members: &Members,
) -> Result<(Written, f64), Failure> {
    members.whole().await?;
    let writer = engine.writer(config).await?;
    let stop = CancellationToken::new();
    let writing = tokio::spawn({
        let stop = stop.clone();
        async move { (write_until(&writer, stop).await, writer) }
    });
    sleep(AROUND).await;
    let outcome = async {
        let leader = engine.leader(config).await?;
        kind.happen_to(members, &leader).await?;
        members.whole().await
    };
    let outcome = outcome.await;
    sleep(AROUND).await;
    stop.cancel();
    let (written, writer) = writing.await?;
    outcome?;
    let there = writer.read_back().await?;
    let lost = written
        .acknowledged()
        .filter(|number| !there.contains(number))
        .count();
    Ok((written, f64::from(u32::try_from(lost)?)))
}
