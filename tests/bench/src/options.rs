//! The command line.

use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};

/// Measures the job engine of the hub under test. Without a name, every bench runs.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// The benches to run.
    pub(crate) benches: Vec<Bench>,
    /// Where the figures are appended, one JSON object a line.
    #[arg(long, default_value = "target/bench/engine.jsonl")]
    pub(crate) out: PathBuf,
    /// Leave the limits of the hub as they are: for few jobs, and no process has to be replaced for it.
    #[arg(long)]
    pub(crate) keep_limits: bool,
    /// Users who submit jobs.
    #[arg(long, default_value_t = 1000)]
    pub(crate) users: usize,
    /// Jobs of the benches accept and e2e.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) jobs: usize,
    /// Connections of the benches accept and e2e, each with one request under way.
    #[arg(long, default_value_t = 256)]
    pub(crate) in_flight: usize,
    /// Jobs that each worker runs at a time in the bench e2e, unless limits are kept.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) concurrency: u32,
    /// Numbers of open connections in the bench connections.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 10_000])]
    pub(crate) connections: Vec<usize>,
    /// Requests in a second over all connections in the bench connections.
    #[arg(long, default_value_t = 250)]
    pub(crate) rate: u32,
    /// Jobs of the bench latency.
    #[arg(long, default_value_t = 1000)]
    pub(crate) latency_jobs: usize,
    /// Queued jobs in the benches dispatch and memory.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) queued: usize,
    /// Workers that go in the bench scale-in, at least.
    #[arg(long, default_value_t = 100)]
    pub(crate) scale_ins: usize,
}

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// What a write that the majority has costs on this machine.
    Floor,
    /// The cost of accepting a job, with the dispatcher stopped.
    Accept,
    /// Accepting over many open connections, with the dispatcher stopped.
    Connections,
    /// The cost of a job from its acceptance to its end.
    E2e,
    /// What the hub adds to Flickr's own time.
    Latency,
    /// Shares of users, and the wait of a user with one job.
    Fairness,
    /// Memory in Redis of queued jobs and of active users.
    Memory,
    /// The time of a dispatch by the number of users.
    Dispatch,
    /// Workers that go while there is work; only by its name.
    ScaleIn,
}

impl Options {
    /// The benches in the order in which they run: those that need the dispatcher stopped are next to each other.
    pub(crate) fn chosen(&self) -> Vec<Bench> {
        let all = Bench::value_variants().iter().copied();
        all.filter(|bench| match bench {
            // It is about the operator, and takes long.
            Bench::ScaleIn => self.benches.contains(bench),
            _ => self.benches.is_empty() || self.benches.contains(bench),
        })
        .collect()
    }

    /// The folder of the figures.
    pub(crate) fn folder(&self) -> PathBuf {
        self.out.parent().unwrap_or(Path::new("")).to_owned()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn benches_are_chosen_by_name() {
        let options = Options::try_parse_from(["bench-engine", "latency", "accept"]).unwrap();
        assert_eq!(options.chosen(), [Bench::Accept, Bench::Latency]);
        let all = Options::try_parse_from(["bench-engine"]).unwrap().chosen();
        let but_for_scale_in = Bench::value_variants().iter().copied();
        let but_for_scale_in = but_for_scale_in.filter(|bench| *bench != Bench::ScaleIn);
        assert_eq!(all, but_for_scale_in.collect::<Vec<_>>());
        let one = Options::try_parse_from(["bench-engine", "scale-in"])
            .unwrap()
            .chosen();
        assert_eq!(one, [Bench::ScaleIn]);
        assert!(Options::try_parse_from(["bench-engine", "speed"]).is_err());
    }
}
