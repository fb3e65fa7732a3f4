//! The operator's program: `run` reconciles, `plan` tells what a change would do, `crds` prints the CustomResourceDefinitions.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use flickrhub_job::telemetry::{self, Readiness};
use flickrhub_operator::backlogs::Backlogs;
use flickrhub_operator::context::{Context, Settings};
use flickrhub_operator::external_metrics::ServiceAddress;
use flickrhub_operator::external_metrics::registration::Registration;
use flickrhub_operator::leader::{Candidate, LeaderError};
use flickrhub_operator::metrics::Metrics;
use flickrhub_operator::own_certificate::{OwnCertificate, OwnCertificateError};
use flickrhub_operator::plan::PlanError;
use flickrhub_operator::validate::Surroundings;
use flickrhub_operator::{controller, crd, external_metrics, plan, shutdown};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a connection to the Kubernetes API may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the Kubernetes API may leave a request without an answer; admission webhooks may take half a minute.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(35);

/// The pause between two tries to withdraw external metrics.
const WITHDRAWAL_PAUSE: Duration = Duration::from_secs(10);

/// Runs FlickrHub installations on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconciles FlickrHub resources until told to stop.
    Run(Box<RunArgs>),
    /// Tells what applying a FlickrHub would do, as the user of the current kubeconfig, and does none of it.
    Plan(PlanArgs),
    /// Prints the CustomResourceDefinitions as YAML.
    Crds {
        /// Only that of this plural, such as `flickrhubs`.
        plural: Option<String>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// Where metrics and health are served.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:9090")]
    metrics_address: SocketAddr,
    /// The namespace to look at; every one without it.
    #[arg(long, env = "WATCH_NAMESPACE")]
    namespace: Option<String>,
    /// The DNS domain of the cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// The version of FlickrHub that hubs run which name no images: that of the operator.
    #[arg(long, env = "HUB_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    hub_version: String,
    /// Resources that are reconciled at the same time.
    #[arg(long, env = "CONCURRENCY", default_value_t = 8)]
    concurrency: u16,
    /// The name of this pod, part of its identity as a leader.
    #[arg(long, env = "POD_NAME", default_value = "flickrhub-operator")]
    pod_name: String,
    /// The namespace of this pod: that of the lease that elects a leader, and the one that hubs' NetworkPolicies let in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,
    /// The name of that lease.
    #[arg(long, default_value = "flickrhub-operator")]
    lease_name: String,
    /// The Service, in the namespace of this pod, whose port 443 leads to this program's external metrics, and by whose name it
    /// is known over TLS. Without it no external metrics are served, and metrics and health without TLS.
    #[arg(long)]
    external_metrics_service: Option<String>,
    /// Whether external metrics are served. If not, they are withdrawn from the Kubernetes API where they were.
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    external_metrics: bool,
    /// Where external metrics are served.
    #[arg(long, default_value = "0.0.0.0:8443")]
    external_metrics_address: SocketAddr,
    /// The `ClusterRole` that was installed with this program: the registration of external metrics goes with it.
    #[arg(long, default_value = "flickrhub-operator")]
    cluster_role: String,
}

#[derive(Args)]
struct PlanArgs {
    /// The file with the FlickrHub as it should become; `-` is the standard input.
    #[arg(long, short)]
    file: PathBuf,
    /// The namespace of a FlickrHub that names none; that of the kubeconfig without it.
    #[arg(long, short)]
    namespace: Option<String>,
    /// How the plan is written.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// The namespace that the operator runs in.
    #[arg(long, env = "POD_NAMESPACE", default_value = "flickrhub-system")]
    operator_namespace: String,
    /// The DNS domain of the cluster.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// The version of FlickrHub that hubs run which name no images: that of the operator.
    #[arg(long, env = "HUB_VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    hub_version: String,
    /// The Service of the operator's external metrics.
    #[arg(long, default_value = "flickrhub-operator")]
    external_metrics_service: String,
}

/// How a plan is written.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
enum ProgramError {
    #[error("another cryptography provider is already installed")]
    Cryptography,
    #[error("the CustomResourceDefinition cannot be printed: {0}")]
    Definition(#[from] crd::PrintError),
    #[error("cannot write: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot reach the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error("{0}")]
    Leader(#[from] LeaderError),
    #[error("the certificate for metrics: {0}")]
    Certificate(#[from] OwnCertificateError),
    #[error("{0}")]
    Plan(Box<PlanError>),
}

impl From<PlanError> for ProgramError {
    fn from(error: PlanError) -> Self {
        Self::Plan(Box::new(error))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => Box::pin(run(*args)).await,
        Command::Plan(args) => Box::pin(tell_plan(args)).await,
        Command::Crds { plural } => print_definitions(plural.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ends");
            // Before logging is set up, and for a person at a terminal.
            let _ = writeln!(std::io::stderr(), "flickrhub-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_definitions(plural: Option<&str>) -> Result<(), ProgramError> {
    std::io::stdout().write_all(crd::definitions_yaml(plural)?.as_bytes())?;
    Ok(())
}

async fn tell_plan(args: PlanArgs) -> Result<(), ProgramError> {
    install_cryptography()?;
    let client = Client::try_default().await?;
    let text = if args.file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(&args.file)?
    };
    let namespace = args
        .namespace
        .unwrap_or_else(|| client.default_namespace().to_owned());
    let wanted = plan::read_file(&text, &namespace)?;
    // By this one it is told apart from another adapter.
    let external_metrics = ServiceAddress {
        namespace: args.operator_namespace.clone(),
        name: args.external_metrics_service,
    };
    let settings = Settings {
        surroundings: Surroundings {
            cluster_domain: args.cluster_domain,
            operator_namespace: args.operator_namespace,
            version: args.hub_version,
        },
        namespace: None,
        concurrency: 1,
        external_metrics: Some(external_metrics),
    };
    let recorder = Recorder::new(client.clone(), "flickrhub-plan".into());
    let context = Context::new(client.clone(), client, recorder, settings);
    let plan = Box::pin(plan::plan(&context, wanted)).await?;
    let mut output = std::io::stdout();
    match args.output {
        Format::Text => write!(output, "{plan}")?,
        Format::Json => writeln!(output, "{:#}", plan.json())?,
    }
    Ok(())
}

fn install_cryptography() -> Result<(), ProgramError> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| ProgramError::Cryptography)
}

async fn run(args: RunArgs) -> Result<(), ProgramError> {
    telemetry::init_logging("operator", "");
    install_cryptography()?;
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let watch_client = Client::try_from(config.clone())?;
    config.read_timeout = Some(REQUEST_TIMEOUT);
    config.write_timeout = Some(REQUEST_TIMEOUT);
    config.reset_reader_on_write = true;
    let client = Client::try_from(config)?;
    let registry = Registry::new();
    let metrics = Metrics::new(&registry)?;
    let identity = format!("{}_{:08x}", args.pod_name, rand::random::<u32>());
    let reporter = Reporter {
        controller: "flickrhub-operator".to_owned(),
        instance: Some(args.pod_name),
    };
    let service = args.external_metrics_service.map(|name| ServiceAddress {
        namespace: args.lease_namespace.clone(),
        name,
    });
    let settings = Settings {
        surroundings: Surroundings {
            cluster_domain: args.cluster_domain,
            operator_namespace: args.lease_namespace.clone(),
            version: args.hub_version,
        },
        namespace: args.namespace,
        concurrency: args.concurrency,
        external_metrics: service.clone().filter(|_| args.external_metrics),
    };
    let recorder = Recorder::new(client.clone(), reporter);
    let context = Context::new(client.clone(), watch_client, recorder, settings);
    registry.register(Box::new(context.certificates.collector()?))?;
    let backlogs = context.backlogs.clone();
    let certificate = service
        .clone()
        .map(|service| OwnCertificate::new(client.clone(), service));
    let registration = service.map(|service| Registration::new(client.clone(), service, args.cluster_role));
    let external_metrics = serve_external_metrics(
        args.external_metrics_address,
        registration,
        args.external_metrics,
        client.clone(),
        backlogs,
    );
    let candidate = Candidate::new(client, &args.lease_namespace, args.lease_name, identity);

    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        stop.cancel();
    });

    tokio::select! {
        served = serve_metrics(args.metrics_address, registry, certificate) => served,
        served = external_metrics => Ok(served?),
        led = lead(context, metrics, candidate, stopped) => led,
    }
}

/// Serves metrics and health. Never ends but by a failure.
async fn serve_metrics(
    address: SocketAddr,
    registry: Registry,
    certificate: Option<OwnCertificate>,
) -> Result<(), ProgramError> {
    let readiness = Readiness::new();
    let Some(certificate) = certificate else {
        return Ok(telemetry::serve(address, registry, readiness, None).await?);
    };
    let shown = certificate.provisional()?;
    tokio::select! {
        served = telemetry::serve_secured(address, registry, readiness, &shown) => Ok(served?),
        never = certificate.follow(&shown) => match never {},
    }
}

/// Serves external metrics, or withdraws them; whether this process leads or not. Never ends but by a failure.
async fn serve_external_metrics(
    address: SocketAddr,
    registration: Option<Registration>,
    is_wanted: bool,
    client: Client,
    backlogs: Backlogs,
) -> std::io::Result<()> {
    match registration {
        Some(registration) if is_wanted => {
            return external_metrics::server::run(address, registration, client, backlogs).await;
        }
        Some(registration) => {
            while let Err(error) = registration.withdraw().await {
                tracing::warn!(%error, "external metrics cannot be withdrawn yet");
                tokio::time::sleep(WITHDRAWAL_PAUSE).await;
            }
        }
        None => {}
    }
    std::future::pending().await
}

/// Stands by, leads, and hands the lease back.
async fn lead(
    context: Context,
    metrics: Metrics,
    candidate: Candidate,
    stopped: CancellationToken,
) -> Result<(), ProgramError> {
    tokio::select! {
        () = candidate.acquire() => {}
        () = stopped.cancelled() => return Ok(()),
    }
    tracing::info!("leads");
    metrics.leads(true);
    let saves = context.saves.clone();
    let work = async {
        let reconciling = controller::run(context, metrics.clone(), stopped.clone().cancelled_owned());
        shutdown::wind_up(reconciling, &stopped).await;
        // While the lease is still renewed: another leader would take an initialised OpenBao without keys for a lost one.
        shutdown::finish(&saves).await;
    };
    tokio::select! {
        // Whoever lost the lease must not write any more, but for what exists nowhere else: the process ends, and stands
        // by anew.
        error = candidate.lead() => {
            metrics.leads(false);
            shutdown::finish(&saves).await;
            Err(error.into())
        }
        () = work => {
            metrics.leads(false);
            candidate.release().await;
            Ok(())
        }
    }
}
