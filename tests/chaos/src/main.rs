//! `make chaos`: jobs under failures for a given time and seed.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use flickrhub_chaos::report;
use flickrhub_chaos::run::{Options, run};
use flickrhub_chaos::schedule::SHORTEST;
use flickrhub_e2e::scene;

/// Submits jobs to the hub of the test environment while parts of it are killed, and checks what it promises.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What the nemesis and the clients do follows from it; by the clock without it.
    #[arg(long)]
    seed: Option<u64>,
    /// How long clients submit and the nemesis works.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// How many clients submit at the same time.
    #[arg(long, default_value_t = 24)]
    clients: u32,
    /// The longest pause of a client between two orders, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    pause_ms: u64,
    /// How long jobs may take to end when everything is whole again, in seconds.
    #[arg(long, default_value_t = 300)]
    drain_seconds: u64,
    /// Leave the hub alone: what is wrong then is wrong without any failure.
    #[arg(long)]
    calm: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        seed: arguments.seed.unwrap_or_else(by_the_clock),
        length: Duration::from_secs(arguments.seconds),
        clients: arguments.clients,
        pause: Duration::from_millis(arguments.pause_ms),
        drain: Duration::from_secs(arguments.drain_seconds),
        nemesis: !arguments.calm,
    };
    let outcome = Arc::new(OnceLock::new());
    let place = Arc::clone(&outcome);
    scene::play(|scene| async move {
        let _ = place.set(run(&scene, options).await);
    })
    .await;
    let Some(outcome) = outcome.get() else {
        return ExitCode::FAILURE;
    };
    println!("{}", report::table(outcome));
    print!("{}", report::lines(options, outcome));
    let left_out = options.nemesis && options.length >= SHORTEST && outcome.left_out().next().is_some();
    if outcome.violations.is_empty() && outcome.not_whole.is_none() && !left_out {
        ExitCode::SUCCESS
    } else {
        println!(
            "the same again: make chaos SEED={} SECONDS={}",
            options.seed, arguments.seconds
        );
        ExitCode::FAILURE
    }
}

fn by_the_clock() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.map_or(1, |since| since.as_secs())
}
