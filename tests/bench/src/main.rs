//! `bench-engine`: what the job engine costs and how well it keeps its promises, measured on a hub in a real cluster.
//!
//! It runs inside the cluster's network on the machine whose processes the containers are (`make bench-engine` sees to
//! that). The hub is put back as it was at the end, also after a failure or an interrupt; after a kill, by the next run.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

mod bench;
mod flickr_log;
mod http_client;
mod hub;
mod jobs;
mod load;
mod options;
mod processes;
mod sandbox;
mod scene;
mod tier;
mod users;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use clap::Parser;
use flickrhub_bench::{quantile, report};
use futures::FutureExt;

use crate::options::{Bench, Options};
use crate::report::Report;
use crate::scene::Scene;

/// Why a bench could not be finished: a command tells it and ends.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Options::parse()).await {
        Ok(failed) if failed.is_empty() => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("without all figures: {failed:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benches; answers those that failed.
async fn run(options: Options) -> Result<Vec<Bench>, Failure> {
    let mut report = Report::to_file(&options.out)?;
    let mut scene = Scene::of_the_hub(options).await?;
    let mut failed = Vec::new();
    let all = async {
        for bench in scene.options.chosen() {
            eprintln!("{bench:?} …");
            let outcome = AssertUnwindSafe(bench::run(bench, &mut scene, &mut report)).catch_unwind();
            match outcome.await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => eprintln!("{bench:?}: {error}"),
                Err(_) => eprintln!("{bench:?} broke off"),
            }
            failed.push(bench);
        }
    };
    let interrupted = tokio::select! {
        () = all => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    scene.leave().await?;
    println!("\n{}", report.table());
    if interrupted {
        return Err("interrupted".into());
    }
    Ok(failed)
}
