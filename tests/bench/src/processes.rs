//! The CPU time and memory of the hub's containers, read from `/proc`.
//!
//! The containers of the lab are processes of this machine. A process belongs to the container whose id ends the path of
//! its control group, and the cluster says which pod and which part of the hub a container is. So the figures are those
//! of the kernel, cost the hub nothing, and hold nothing of the bench itself, of probes that the kubelet executes in a
//! container, or of the cluster.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use flickrhub_e2e::cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use crate::Failure;

/// Clock ticks in a second, as `/proc` counts them: fixed in the interface between kernel and programs (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;
/// Bytes in a page of x86-64 and of arm64 as distributions build it.
const PAGE: u64 = 4096;
/// The part that is not ours: Flickr's stand-in.
pub(crate) const FLICKR: &str = "flickr-mock";

/// The parts that are processes of FlickrHub; the others are services.
const OURS: [&str; 4] = ["api", "dispatcher", "callbacks", "worker"];

/// The containers of the hub.
pub(crate) struct Containers {
    /// The part of the hub, by the id of the container.
    parts: HashMap<String, String>,
}

/// CPU time by part since each process began, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    at: Instant,
    /// Part and CPU time by process id.
    processes: HashMap<u32, (String, Duration)>,
}

/// CPU time by part between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spent {
    /// By part of the hub, without Flickr's stand-in.
    pub(crate) by_part: BTreeMap<String, Duration>,
    /// Of Flickr's stand-in.
    pub(crate) flickr: Duration,
    /// How long it was between the readings.
    pub(crate) took: Duration,
}

impl Spent {
    /// The sum over the hub.
    pub(crate) fn total(&self) -> Duration {
        self.by_part.values().sum()
    }

    /// The sum over the processes of FlickrHub.
    pub(crate) fn ours(&self) -> Duration {
        let ours = self
            .by_part
            .iter()
            .filter(|(part, _)| OURS.contains(&part.as_str()));
        ours.map(|(_, spent)| *spent).sum()
    }

    /// The sum over the services: Redis, MongoDB, RabbitMQ, Vault.
    pub(crate) fn services(&self) -> Duration {
        self.total().saturating_sub(self.ours())
    }
}

/// The CPU time of the bench itself since it began.
pub(crate) fn own_cpu() -> Option<Duration> {
    cpu_of_stat(&read(std::process::id(), "stat")?)
}

impl Containers {
    /// Asks the cluster which containers the hub has. A container that is started later is not among them.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub(crate) async fn of_the_hub(client: &Client) -> Result<Self, Failure> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster::namespace());
        let mut parts = HashMap::new();
        for pod in pods.list(&ListParams::default()).await? {
            let Some(part) = part_of(&pod) else { continue };
            let statuses = pod
                .status
                .iter()
                .flat_map(|status| status.container_statuses.iter().flatten());
            for id in statuses.filter_map(|status| status.container_id.as_deref()) {
                // "containerd://<id>"
                let id = id.rsplit('/').next().unwrap_or(id);
                parts.insert(id.to_owned(), part.clone());
            }
        }
        Ok(Self { parts })
    }

    /// The CPU time of every process of the hub at this moment.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn cpu(&self) -> Result<Reading, Failure> {
        let mut processes = HashMap::new();
        self.each(|id, part| {
            if let Some(spent) = read(id, "stat").as_deref().and_then(cpu_of_stat) {
                processes.insert(id, (part.to_owned(), spent));
            }
        })?;
        Ok(Reading {
            at: Instant::now(),
            processes,
        })
    }

    /// Resident memory in bytes, by part; pages that processes share count once for each.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn memory(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut memory = BTreeMap::new();
        self.each(|id, part| {
            if let Some(pages) = read(id, "statm").as_deref().and_then(resident_pages) {
                *memory.entry(part.to_owned()).or_default() += pages * PAGE;
            }
        })?;
        Ok(memory)
    }

    fn each(&self, mut visit: impl FnMut(u32, &str)) -> Result<(), Failure> {
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process that ended meanwhile is no failure.
            let Some(part) = read(id, "cgroup")
                .as_deref()
                .and_then(container_of_cgroup)
                .and_then(|container| self.parts.get(container))
                .cloned()
            else {
                continue;
            };
            visit(id, &part);
        }
        Ok(())
    }
}

impl Reading {
    /// What was spent from this reading to a later one. A process that began in between counts from its beginning; what
    /// one that ended spent at its end is not known.
    pub(crate) fn until(&self, later: &Self) -> Spent {
        let mut spent = Spent {
            took: later.at - self.at,
            ..Spent::default()
        };
        for (id, (part, now)) in &later.processes {
            let before = self
                .processes
                .get(id)
                .map_or(Duration::ZERO, |(_, before)| *before);
            let during = now.saturating_sub(before);
            if part == FLICKR {
                spent.flickr += during;
            } else {
                *spent.by_part.entry(part.clone()).or_default() += during;
            }
        }
        spent
    }
}

/// The part of the hub that a pod is; the workers of all queues are one.
fn part_of(pod: &Pod) -> Option<String> {
    let labels = pod.labels();
    let component = match labels.get("app.kubernetes.io/component") {
        Some(component) => component.as_str(),
        None if labels
            .get("app.kubernetes.io/name")
            .is_some_and(|name| name == FLICKR) =>
        {
            FLICKR
        }
        None => return None,
    };
    Some(
        component
            .split('-')
            .next()
            .filter(|part| *part == "worker")
            .unwrap_or(component)
            .to_owned(),
    )
}

fn read(id: u32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{id}/{file}")).ok()
}

/// The last segment of a path in `/proc/<pid>/cgroup` that has the length of a container's id (64 hexadecimal digits).
fn container_of_cgroup(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.rsplit('/').next())
        .map(|name| {
            name.trim_start_matches("cri-containerd-")
                .trim_end_matches(".scope")
        })
        .find(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// User and system time (fields 14 and 15 of `/proc/<pid>/stat`, proc(5)) of a process with all of its threads.
fn cpu_of_stat(text: &str) -> Option<Duration> {
    // The name in parentheses may hold anything, so count from behind it: the next field is the third.
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

fn resident_pages(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a9ba6c57ded0ff53452f3a3589817b601a8fb9d745621f13c4cb8750327eba59";

    #[test]
    fn a_container_is_found_in_both_kinds_of_control_groups() {
        let v1 = format!("9:cpu:/lab-n1/kubepods/burstable/pode70d03b4/{ID}\n0::/x\n");
        let v2 = format!("0::/kubepods.slice/pod_1.slice/cri-containerd-{ID}.scope\n");
        for text in [v1, v2] {
            assert_eq!(container_of_cgroup(&text), Some(ID), "{text}");
        }
        assert_eq!(container_of_cgroup("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn cpu_time_is_read_behind_a_name_with_parentheses() {
        let text = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 3 0 100 1000 10";
        assert_eq!(cpu_of_stat(text), Some(Duration::from_secs(2)));
        assert_eq!(cpu_of_stat("42 (x) S 1"), None);
        assert_eq!(resident_pages("1000 25 3 1 0 9 0"), Some(25));
        assert!(own_cpu().is_some());
    }

    #[test]
    fn what_was_spent_is_told_by_part_and_flickr_apart() {
        let reading = |at, entries: &[(u32, &str, u64)]| Reading {
            at,
            processes: entries
                .iter()
                .map(|(id, part, ms)| (*id, ((*part).to_owned(), Duration::from_millis(*ms))))
                .collect(),
        };
        let start = Instant::now();
        let before = reading(start, &[(1, "redis", 100), (2, "api", 5), (3, FLICKR, 1)]);
        let after = reading(
            start + Duration::from_secs(1),
            &[(1, "redis", 130), (4, "api", 9), (3, FLICKR, 8), (5, "redis", 1)],
        );
        let spent = before.until(&after);
        assert_eq!(spent.total(), Duration::from_millis(40));
        assert_eq!(spent.by_part["redis"], Duration::from_millis(31));
        assert_eq!(spent.flickr, Duration::from_millis(7));
        assert_eq!(
            (spent.ours(), spent.services()),
            (Duration::from_millis(9), Duration::from_millis(31))
        );
    }
}
