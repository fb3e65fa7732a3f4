//! `flickrhub-api`: serves the HTTP API, or prints its OpenAPI document.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use flickrhub_api::data_tier::DataTier;
use flickrhub_api::patience::Patience;
use flickrhub_api::state::{AppState, DataTierSlot, Parts};
use flickrhub_api::{openapi, problem, server};
use flickrhub_flickr::{ClientError, Endpoints, FlickrClient};
use flickrhub_job::config::{CONFIG_PATH, Config, ConfigError};
use flickrhub_job::connection::{self, ConnectError};
use flickrhub_job::limits::LimitsFile;
use flickrhub_job::store::{self, AuditStore, StoreError};
use flickrhub_job::telemetry::{self, Metrics};
use tokio::signal::unix::{SignalKind, signal};

/// The HTTP API of a `FlickrHub`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration that the operator wrote.
    #[arg(long, global = true, default_value = CONFIG_PATH)]
    config: PathBuf,
    /// Where the API is served.
    #[arg(long, global = true, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Where the API is served over TLS, if the configuration names a certificate.
    #[arg(long, global = true, default_value = "0.0.0.0:8443")]
    listen_tls: SocketAddr,
    /// Where metrics and health are served.
    #[arg(long, global = true, default_value = "0.0.0.0:9090")]
    metrics_listen: SocketAddr,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the API (the default).
    Serve,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the list of problems, as Markdown.
    Problems,
    /// Read the whole audit log and say what is wrong with it; fails if anything is.
    VerifyAudit,
}

/// The process cannot do its work.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The addresses of Flickr in the configuration.
    #[error("flickr.endpoints: {0}")]
    Endpoints(#[from] url::ParseError),
    /// The HTTP client for Flickr.
    #[error(transparent)]
    Flickr(#[from] ClientError),
    /// The instruments.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The OpenAPI document.
    #[error("the OpenAPI document: {0}")]
    OpenApi(#[from] serde_json::Error),
    /// MongoDB.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log is not whole.
    #[error("the audit log is not whole: {0} faults")]
    AuditLog(usize),
    /// A port, a signal or the standard output.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        None | Some(Command::Serve) => serve(&arguments).await,
        Some(Command::Openapi) => print_openapi(),
        Some(Command::Problems) => print_problems(),
        Some(Command::VerifyAudit) => verify_audit(&arguments).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flickrhub-api: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_openapi() -> Result<(), Fatal> {
    io::stdout().write_all(openapi::text()?.as_bytes())?;
    Ok(())
}

fn print_problems() -> Result<(), Fatal> {
    io::stdout().write_all(problem::listing().as_bytes())?;
    Ok(())
}

async fn verify_audit(arguments: &Arguments) -> Result<(), Fatal> {
    let config = Config::load(&arguments.config)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = connection::mongodb::connect(&config.mongodb).await?;
    let report = AuditStore::open(&database)
        .await?
        .verify(store::time::now())
        .await?;
    let mut out = io::stdout();
    for fault in &report.faults {
        writeln!(out, "{fault}")?;
    }
    writeln!(
        out,
        "{} entries in {} chains were read",
        report.entries, report.chains
    )?;
    match report.faults.len() {
        0 => Ok(()),
        faults => Err(Fatal::AuditLog(faults)),
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Fatal> {
    let config = Config::load(&arguments.config)?;
    telemetry::init_logging("api", &config.hub);
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stop = terminated()?;

    let endpoints = &config.flickr.endpoints;
    let endpoints = Endpoints::from_bases(&endpoints.rest, &endpoints.upload, &endpoints.oauth)?;
    let flickr = FlickrClient::new(endpoints, server::FLICKR_TIMEOUTS)?;
    let data = DataTierSlot::default();
    let limits = LimitsFile::beside(&arguments.config).await;
    let state = AppState::of(Parts {
        config,
        limits: limits.limits(),
        flickr,
        metrics: Metrics::new()?,
        keys: Arc::new(data.clone()),
        audit: Arc::new(data.clone()),
        data: data.clone(),
        patience: Patience::default(),
    });

    let addresses = server::Addresses {
        plain: arguments.listen,
        secured: arguments.listen_tls,
    };
    let (registry, readiness) = (state.metrics.registry.clone(), state.readiness.clone());
    let tls = state.config.metrics.tls.clone();
    let metrics = telemetry::serve(arguments.metrics_listen, registry, readiness, tls.as_ref());
    let connect = async {
        data.fill(DataTier::connect_patiently(&state.config, &state.metrics).await);
        tracing::info!("connected to the data tier");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = server::serve(addresses, state.clone(), stop) => Ok(outcome?),
        outcome = metrics => Ok(outcome?),
        () = connect => Ok(()),
        () = limits.follow() => Ok(()),
    }
}

/// Resolves when the process is told to stop, by SIGTERM or from a terminal.
fn terminated() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
