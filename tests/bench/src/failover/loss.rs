//! The ways in which a member is lost.

use std::time::Duration;

use clap::ValueEnum;
use flickrhub_chaos::process::{Network, Processes};
use tokio::time::sleep;

use crate::Failure;
use crate::members::Members;

/// How long a member hangs or is cut off, as in the measurements of hand-made manifests that it is compared with.
const AWAY: Duration = Duration::from_secs(12);

/// A way in which the leader is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Its processes are killed; the container starts again in the same pod.
    Sigkill,
    /// Its pod is deleted without a grace period.
    Delete,
    /// Its pod is deleted with its grace period, as a drained node does it.
    Graceful,
    /// Every member is replaced, because the resource asks for something else.
    Rolling,
    /// Its processes are stopped for a while (SIGSTOP), and go on.
    Hung,
    /// Its pod is cut off the network for a while: nothing reaches it nor leaves it.
    Cut,
}

impl Kind {
    /// Every way.
    pub(crate) const ALL: [Self; 6] = [
        Self::Sigkill,
        Self::Delete,
        Self::Graceful,
        Self::Rolling,
        Self::Hung,
        Self::Cut,
    ];

    /// The name in figures.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sigkill => "sigkill",
            Self::Delete => "delete",
            Self::Graceful => "graceful",
            Self::Rolling => "rolling",
            Self::Hung => "hung",
            Self::Cut => "cut",
        }
    }

    /// Lets it happen to the pod that leads. Returns when it has happened, not when it is over.
    ///
    /// # Errors
    /// When the cluster does not answer, or the pod's processes cannot be seen from here.
    pub(crate) async fn happen_to(self, members: &Members, leader: &str) -> Result<(), Failure> {
        self.begin(members, leader).await?.end().await
    }

    /// Lets it begin; what lasts for a while has to be [ended](Lasting::end).
    ///
    /// # Errors
    /// As of [`Kind::happen_to`].
    pub(crate) async fn begin(self, members: &Members, leader: &str) -> Result<Lasting, Failure> {
        match self {
            Self::Sigkill => processes(members, leader).await?.signal("KILL")?,
            Self::Hung => {
                let processes = processes(members, leader).await?;
                processes.signal("STOP")?;
                return Ok(Lasting::Stopped(processes));
            }
            Self::Cut => {
                let network = Processes::of_pod(&members.uid(leader).await?).network()?;
                if let Err(error) = network.cut(true) {
                    // One direction may be cut.
                    let _ = network.cut(false);
                    return Err(error.into());
                }
                return Ok(Lasting::Cut(network));
            }
            Self::Delete => members.delete(leader, Some(0)).await?,
            Self::Graceful => members.delete(leader, None).await?,
            Self::Rolling => members.replace_all().await?,
        }
        Ok(Lasting::Nothing)
    }
}

/// What goes on until it is ended.
#[derive(Debug)]
pub(crate) enum Lasting {
    /// Nothing does.
    Nothing,
    /// These processes are stopped.
    Stopped(Processes),
    /// This network is cut.
    Cut(Network),
}

impl Lasting {
    /// Ends it when its time is over.
    ///
    /// # Errors
    /// When it goes on.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        match self {
            Self::Nothing => {}
            Self::Stopped(processes) => {
                sleep(AWAY).await;
                processes.signal("CONT")?;
            }
            Self::Cut(network) => {
                sleep(AWAY).await;
                network.cut(false)?;
            }
        }
        Ok(())
    }
}

/// The processes of the engine in the pod: of all containers but the one that holds the pod's network.
async fn processes(members: &Members, pod: &str) -> Result<Processes, Failure> {
    let container = members.container(pod).await?;
    let processes = Processes::of_container(&container);
    if processes.is_empty() {
        return Err(format!("the processes of {pod} cannot be seen from here").into());
    }
    Ok(processes)
}
