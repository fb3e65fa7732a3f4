//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use flickrhub_job::config::CONFIG_PATH;
use flickrhub_job::queue::Queue;

/// The worker of FlickrHub, in one of its three roles.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// The configuration file.
    #[arg(long, global = true, default_value = CONFIG_PATH)]
    pub config: PathBuf,
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, global = true, default_value = "0.0.0.0:9090")]
    pub metrics_address: SocketAddr,
    /// What this process does.
    #[command(subcommand)]
    pub role: Role,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Role {
    /// Run the jobs of one queue.
    Run {
        /// rest, upload or replace.
        #[arg(long)]
        queue: Queue,
    },
    /// Release jobs from their lanes in fair order, and recover those that got stuck.
    Dispatch,
    /// Deliver the callbacks of finished jobs.
    Callbacks,
}

impl Role {
    /// The component in logs.
    pub const fn component(self) -> &'static str {
        match self {
            Self::Run { .. } => "worker",
            Self::Dispatch => "dispatcher",
            Self::Callbacks => "callbacks",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Role> {
        Args::try_parse_from(line.split(' ')).ok().map(|args| args.role)
    }

    #[test]
    fn the_configuration_may_be_named_before_or_after_the_role() {
        let rest = Some(Role::Run { queue: Queue::Rest });
        assert_eq!(parsed("flickrhub-worker --config a.yaml run --queue rest"), rest);
        assert_eq!(parsed("flickrhub-worker run --queue rest --config a.yaml"), rest);
        assert_eq!(parsed("flickrhub-worker dispatch"), Some(Role::Dispatch));
        assert_eq!(parsed("flickrhub-worker callbacks"), Some(Role::Callbacks));
    }

    #[test]
    fn a_queue_that_does_not_exist_is_refused() {
        assert_eq!(parsed("flickrhub-worker run --queue other"), None);
    }
}
