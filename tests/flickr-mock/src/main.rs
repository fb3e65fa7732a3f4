//! The stand-in for Flickr as a server of its own.

use std::{fs, io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use flickrhub_flickr_mock::{Builder, MockFlickr};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A stand-in for Flickr that checks signatures, and fails on demand.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// A file with one application's key.
    #[arg(long, requires = "consumer_secret_file")]
    consumer_key_file: Option<PathBuf>,
    /// A file with that application's secret.
    #[arg(long, requires = "consumer_key_file")]
    consumer_secret_file: Option<PathBuf>,
    /// A file with further applications, one `key=secret` a line.
    #[arg(long)]
    apps_file: Vec<PathBuf>,
    /// Ask before authorizing, instead of approving at once.
    #[arg(long)]
    ask: bool,
    /// Milliseconds that an asynchronous upload takes.
    #[arg(long, default_value_t = 1000)]
    ticket_delay_ms: u64,
    /// Requests an hour that each application may make before it gets 429.
    #[arg(long)]
    requests_per_hour: Option<usize>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: not key=secret")]
    App { path: PathBuf, line: usize },
    #[error("no application: give --consumer-key-file and --consumer-secret-file, or --apps-file")]
    NoApp,
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("cannot handle signals: {0}")]
    Signals(io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().json().flatten_event(true).init();
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "not started");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let address = arguments.listen;
    let builder = configure(&arguments)?;
    let listen_error = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let server = builder.serve(listener).map_err(listen_error)?;
    tracing::info!(origin = server.origin(), "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    server.stop().await;
    Ok(())
}

fn configure(arguments: &Arguments) -> Result<Builder, StartError> {
    let mut builder = MockFlickr::builder()
        .auto_approve(!arguments.ask)
        .ticket_delay(Duration::from_millis(arguments.ticket_delay_ms));
    if let Some(limit) = arguments.requests_per_hour {
        builder = builder.requests_per_hour(limit);
    }
    let mut apps = 0;
    if let (Some(key), Some(secret)) = (&arguments.consumer_key_file, &arguments.consumer_secret_file) {
        builder = builder.app(read(key)?.trim(), read(secret)?.trim());
        apps += 1;
    }
    for path in &arguments.apps_file {
        for (index, line) in read(path)?.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let Some((key, secret)) = line.trim().split_once('=') else {
                return Err(StartError::App {
                    path: path.clone(),
                    line: index + 1,
                });
            };
            builder = builder.app(key, secret);
            apps += 1;
        }
    }
    if apps == 0 {
        Err(StartError::NoApp)
    } else {
        Ok(builder)
    }
}

fn read(path: &PathBuf) -> Result<String, StartError> {
    fs::read_to_string(path).map_err(|source| StartError::Read {
        path: path.clone(),
        source,
    })
}
