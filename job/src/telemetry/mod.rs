//! What the processes tell about themselves: logs, traces, metrics and health.

mod hurried_stream;
pub mod lifecycle;
mod logging;
pub mod metrics;
mod process;
mod readiness;
mod server;
pub mod trace;

pub use logging::init_logging;
pub use metrics::Metrics;
pub use readiness::{CheckFailed, Readiness};
pub use server::{METRICS_PORT, serve, serve_secured};
