//! What the operating system says about the process, read from `/proc` whenever metrics are scraped.

use std::fs;

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};

/// Clock ticks in a second, as Linux tells times to processes (`USER_HZ`), the same on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// The `process_*` metrics that Prometheus clients have in common.
pub(super) struct ProcessCollector {
    cpu_seconds: Counter,
    resident_memory: IntGauge,
    open_fds: IntGauge,
    start_time: IntGauge,
}

/// What is read at a scrape.
#[derive(Debug, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    resident_bytes: i64,
}

impl ProcessCollector {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let collector = Self {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "User and system time in seconds.")?,
            resident_memory: IntGauge::new("process_resident_memory_bytes", "Resident memory in bytes.")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            start_time: IntGauge::new(
                "process_start_time_seconds",
                "When the process started, in seconds since 1970.",
            )?,
        };
        collector.start_time.set(Timestamp::now().as_second());
        Ok(collector)
    }

    /// Brings the values up to date; those that cannot be read stay as they are.
    fn refresh(&self) {
        let files = (
            fs::read_to_string("/proc/self/stat"),
            fs::read_to_string("/proc/self/status"),
        );
        if let (Ok(stat), Ok(status)) = files
            && let Some(usage) = parse(&stat, &status)
        {
            self.cpu_seconds
                .inc_by((usage.cpu_seconds - self.cpu_seconds.get()).max(0.0));
            self.resident_memory.set(usage.resident_bytes);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_fds
                .set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.resident_memory, &self.open_fds, &self.start_time];
        gauges
            .into_iter()
            .flat_map(Collector::desc)
            .chain(self.cpu_seconds.desc())
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        let gauges = [&self.resident_memory, &self.open_fds, &self.start_time];
        gauges
            .into_iter()
            .flat_map(Collector::collect)
            .chain(self.cpu_seconds.collect())
            .collect()
    }
}

/// Reads `/proc/<pid>/stat` and `/proc/<pid>/status` (proc(5)).
fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name of the program stands in parentheses and may hold anything; the state, field 3, follows it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(14 - 3);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Usage {
        cpu_seconds: (f64::from(user) + f64::from(system)) / TICKS_PER_SECOND,
        resident_bytes: kibibytes * 1024,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 300 1000 200";
        let status = "Name:\ta) b (c\nVmPeak:\t   90 kB\nVmRSS:\t    64 kB\n";
        let usage = Usage {
            cpu_seconds: 3.0,
            resident_bytes: 65_536,
        };
        assert_eq!(parse(stat, status), Some(usage));
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let collector = ProcessCollector::new();
        assert!(collector.is_ok_and(|collector| {
            collector.refresh();
            collector.resident_memory.get() > 0 && collector.open_fds.get() > 0
        }));
    }
}
