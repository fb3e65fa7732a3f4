//! Does what the schedule says.
//!
//! Of each part one member at a time: a part whose members are not all ready again is waited for, since losing two of three
//! is more than it promises to survive; and what does not come back in time is left alone for this step. Different parts
//! may be ill at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use flickrhub_e2e::cluster;
use flickrhub_job::connection::trust::Trust;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use kube::{Client, ResourceExt};
use redis::RedisConnectionInfo;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::now_ms;
use crate::history::Loss;
use crate::loss::loss;
use crate::process::Processes;
use crate::schedule::{Fault, Step, Target};

/// How long a part is waited for before a step.
const RECOVERY: Duration = Duration::from_secs(45);

/// How long Kubernetes may take to see that a container is gone.
const NOTICED: Duration = Duration::from_secs(3);

/// The shortest time between two steps.
const SPACING: Duration = Duration::from_secs(3);

/// How long everything is waited for at the end.
const ALL_WHOLE: Duration = Duration::from_mins(4);

/// The variable that names the lab's program, with which nodes are cut off.
pub const LAB: &str = "FLICKRHUB_LAB";

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Which step.
    pub step: Step,
    /// Whether it was left out, and why; else to what it was done.
    pub outcome: Result<String, String>,
    /// What Redis may have lost by it.
    pub loss: Option<Loss>,
}

/// The hub as the nemesis sees it.
#[derive(Clone)]
pub struct Nemesis {
    client: Client,
    /// How many members each part had at the beginning.
    members: BTreeMap<Target, usize>,
    lab: Option<PathBuf>,
    nodes: Vec<String>,
}

const PARTS: [Target; 9] = [
    Target::Redis,
    Target::Mongodb,
    Target::Rabbitmq,
    Target::Api,
    Target::Dispatcher,
    Target::WorkerRest,
    Target::WorkerUpload,
    Target::WorkerReplace,
    Target::Callbacks,
];

impl Nemesis {
    /// Looks at the hub while it is whole.
    pub async fn look(client: Client) -> Self {
        let lab = std::env::var_os(LAB).map(PathBuf::from);
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await.expect("the nodes");
        let mut nemesis = Self {
            client,
            members: BTreeMap::new(),
            lab,
            nodes: nodes.into_iter().map(|node| node.name_any()).collect(),
        };
        for part in PARTS {
            let members = nemesis.pods(part).await.expect("the pods of the hub").len();
            nemesis.members.insert(part, members);
        }
        nemesis
    }

    /// How many nodes there are that can be cut off.
    pub fn nodes(&self) -> usize {
        if self.lab.is_some() { self.nodes.len() } else { 1 }
    }

    /// Does every step at its time from `start`, and heals what is to be healed; `told` hears of each.
    ///
    /// What had to wait for recovery makes what follows late, never dense; what would come after `end` is left out, unless
    /// every run has it.
    pub async fn work(
        &self,
        (start, end): (Instant, Instant),
        steps: Vec<Step>,
        told: impl Fn(&Done),
    ) -> Vec<Done> {
        let mut healing = JoinSet::new();
        let mut done = Vec::new();
        let mut last = start;
        let mut ill_until: BTreeMap<Target, Instant> = BTreeMap::new();
        for step in steps {
            sleep_until((start + step.at).max(last + SPACING)).await;
            // What hangs looks ready until its probes have failed often enough.
            for (_, until) in ill_until.iter().filter(|(ill, _)| concerns(**ill, step.target)) {
                sleep_until(*until).await;
            }
            let patience = if step.certain { ALL_WHOLE } else { RECOVERY };
            let mut loss_by_it = None;
            let outcome = match self.whole(step.target, patience).await {
                Ok(()) if !step.certain && Instant::now() > end => Err("too late".to_owned()),
                Ok(()) => {
                    let masters = self.masters(step.target).await;
                    let began_ms = now_ms();
                    let outcome = self.act(step, &mut healing).await;
                    // Who cannot be asked may be the master. What failed half-way may have done its harm.
                    let is_master = masters.is_none_or(|masters| {
                        let of_step = outcome.as_deref().unwrap_or_default();
                        outcome.is_err() || masters.iter().any(|master| of_step.starts_with(master.as_str()))
                    });
                    loss_by_it = loss(step, is_master, (began_ms, now_ms()));
                    outcome
                }
                Err(why) => Err(why),
            };
            last = Instant::now();
            ill_until.insert(step.target, last + illness(step.fault));
            let one = Done {
                step,
                outcome,
                loss: loss_by_it,
            };
            told(&one);
            done.push(one);
        }
        while healing.join_next().await.is_some() {}
        done
    }

    /// Waits until every part is whole.
    ///
    /// # Errors
    /// The part that is not.
    pub async fn all_whole(&self) -> Result<(), String> {
        let deadline = Instant::now() + ALL_WHOLE;
        for part in PARTS {
            self.whole(part, deadline.saturating_duration_since(Instant::now()))
                .await?;
        }
        Ok(())
    }

    async fn whole(&self, target: Target, patience: Duration) -> Result<(), String> {
        let parts: &[Target] = if target == Target::Node { &PARTS } else { &[target] };
        let deadline = Instant::now() + patience;
        loop {
            let mut missing = None;
            for part in parts {
                let ready = self
                    .pods(*part)
                    .await
                    .map(|pods| pods.iter().filter(|pod| is_ready(pod)).count());
                let wanted = self.members.get(part).copied().unwrap_or_default();
                match ready {
                    Ok(ready) if ready >= wanted => {}
                    Ok(ready) => missing = Some(format!("{} has {ready} of {wanted}", part.component())),
                    Err(error) => missing = Some(error.to_string()),
                }
            }
            match missing {
                None => return Ok(()),
                Some(missing) if Instant::now() >= deadline => return Err(format!("not whole: {missing}")),
                Some(_) => sleep(Duration::from_millis(500)).await,
            }
        }
    }

    async fn pods(&self, target: Target) -> kube::Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &cluster::namespace());
        let labels = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component={}",
            cluster::hub(),
            target.component()
        );
        let listed = pods.list(&ListParams::default().labels(&labels)).await?;
        let mut listed: Vec<_> = listed
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect();
        listed.sort_by_key(ResourceExt::name_any);
        Ok(listed)
    }

    async fn act(&self, step: Step, healing: &mut JoinSet<()>) -> Result<String, String> {
        if step.target == Target::Node {
            return self.act_on_node(step, healing);
        }
        if step.fault == Fault::Flush {
            return self.flush().await;
        }
        let pods = self.pods(step.target).await.map_err(text)?;
        let pod = pick(&pods, step.member).ok_or("it has no pods")?;
        let name = pod.name_any();
        let containers = container_ids(pod);
        let container = pick(&containers, step.member).ok_or("its containers do not run")?;
        let processes = Processes::of_container(container);
        let (fault, note) = if processes.is_empty() {
            (Fault::Delete, ", as its processes cannot be seen from here")
        } else {
            (step.fault, "")
        };
        match fault {
            Fault::Kill => processes.signal("KILL").map_err(text)?,
            Fault::Stop(duration) => {
                processes.signal("STOP").map_err(text)?;
                healing.spawn(async move {
                    sleep(duration).await;
                    let _ = processes.signal("CONT");
                });
            }
            Fault::Cut(duration) => {
                let network = Processes::of_pod(&pod.uid().unwrap_or_default())
                    .network()
                    .map_err(text)?;
                network.cut(true).map_err(text)?;
                let name = name.clone();
                healing.spawn(async move {
                    sleep(duration).await;
                    if let Err(error) = network.cut(false) {
                        eprintln!("{name} stays cut off: {error}");
                    }
                });
            }
            Fault::Delete | Fault::Flush => {
                let pods: Api<Pod> = Api::namespaced(self.client.clone(), &cluster::namespace());
                let at_once = DeleteParams::default().grace_period(0);
                pods.delete(&name, &at_once).await.map_err(text)?;
            }
        }
        Ok(format!("{name}{note}"))
    }

    /// The processes of the node stop, or its cable is pulled.
    fn act_on_node(&self, step: Step, healing: &mut JoinSet<()>) -> Result<String, String> {
        let node = pick(&self.nodes, step.member)
            .ok_or("there are no nodes")?
            .clone();
        let lab = self.lab.clone().ok_or("nodes are cut off in the lab only")?;
        let (harm, heal, duration) = match step.fault {
            Fault::Stop(duration) => ("freeze-node", "thaw-node", duration),
            Fault::Cut(duration) => ("cut", "heal", duration),
            _ => return Err("nodes are stopped or cut off only".to_owned()),
        };
        run_lab(&lab, harm, &node)?;
        let name = node.clone();
        healing.spawn(async move {
            sleep(duration).await;
            if let Err(error) = run_lab(&lab, heal, &name) {
                eprintln!("{name} stays as it is: {error}");
            }
        });
        Ok(node)
    }

    /// Every master is flushed; of one Redis with Sentinel there is one.
    async fn flush(&self) -> Result<String, String> {
        let flushed = self.each_master(true).await?;
        if flushed.is_empty() {
            return Err("no master was found".to_owned());
        }
        Ok(flushed.join(", "))
    }

    /// The pods in which a master of Redis runs, if that is what the target is about and all can be asked.
    async fn masters(&self, target: Target) -> Option<Vec<String>> {
        match target {
            Target::Redis => self.each_master(false).await.ok(),
            _ => None,
        }
    }

    /// The pods in which a master of Redis runs, each flushed if that is wanted.
    async fn each_master(&self, flush: bool) -> Result<Vec<String>, String> {
        let secret = format!("{}-redis-auth", cluster::hub());
        let password = cluster::secret(&self.client, &secret, "password").await;
        let trust = Trust::from_pem(cluster::authorities(&self.client).await).map_err(text)?;
        let mut masters = Vec::new();
        for pod in self.pods(Target::Redis).await.map_err(text)? {
            let (hub, namespace) = (cluster::hub(), cluster::namespace());
            let host = format!("{}.{hub}-redis.{namespace}.svc.cluster.local", pod.name_any());
            let asked = ask_master(host, password.trim(), &trust, flush).await;
            if asked.map_err(text)? {
                masters.push(pod.name_any());
            }
        }
        Ok(masters)
    }
}

/// Whether a part that is ill is one that the other is, or runs on.
fn concerns(ill: Target, other: Target) -> bool {
    ill == other || ill == Target::Node || other == Target::Node
}

/// How long a part is ill for sure, whatever Kubernetes has noticed of it.
const fn illness(fault: Fault) -> Duration {
    match fault {
        Fault::Stop(duration) | Fault::Cut(duration) => duration.saturating_add(NOTICED),
        Fault::Kill | Fault::Delete | Fault::Flush => NOTICED,
    }
}

/// Whether the server is a master; it is flushed if that is wanted.
async fn ask_master(host: String, password: &str, trust: &Trust, flush: bool) -> redis::RedisResult<bool> {
    let login = RedisConnectionInfo::default().set_password(password);
    let client = flickrhub_job::connection::redis::client((host, 6379), login, Some(trust))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let replication: String = redis::cmd("INFO")
        .arg("replication")
        .query_async(&mut connection)
        .await?;
    let is_master = replication.contains("role:master");
    if is_master && flush {
        let () = redis::cmd("FLUSHALL").query_async(&mut connection).await?;
    }
    Ok(is_master)
}

fn run_lab(lab: &PathBuf, command: &str, node: &str) -> Result<(), String> {
    let output = Command::new(lab).args([command, node]).output().map_err(text)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The ids of its containers that run, without the runtime's prefix.
fn container_ids(pod: &Pod) -> Vec<String> {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter_map(|status| status.container_id.as_deref()?.split_once("://"))
        .map(|(_, id)| id.to_owned())
        .collect()
}

fn pick<T>(from: &[T], member: u32) -> Option<&T> {
    let index = usize::try_from(member).ok()?.checked_rem(from.len())?;
    from.get(index)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
