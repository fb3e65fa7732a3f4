//! `flickrhub-worker`: see the library's documentation for its roles.

use std::process::ExitCode;

use clap::Parser;
use flickrhub_job::config::Config;
use flickrhub_job::limits::LimitsFile;
use flickrhub_job::telemetry::init_logging;
use flickrhub_worker::args::Args;
use flickrhub_worker::{process, shutdown};

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(work(Args::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "cannot work");
            ExitCode::FAILURE
        }
    }
}

async fn work(args: Args) -> Result<(), Box<dyn std::error::Error>> {
    // Logs first: whatever is wrong with the configuration has to be told somewhere.
    let config = Config::load(&args.config);
    init_logging(
        args.role.component(),
        config.as_ref().map_or("", |config| config.hub.as_str()),
    );
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = shutdown::on_terminate()?;
    let limits = LimitsFile::beside(&args.config).await;
    let live = limits.limits();
    let work = process::run(args.role, config?, live, args.metrics_address, stop);
    tokio::select! {
        worked = work => worked?,
        () = limits.follow() => {}
    }
    tracing::info!("stopped");
    Ok(())
}
