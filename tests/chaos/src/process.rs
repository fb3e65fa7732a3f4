//! The processes of a pod, as this machine sees them: the lab's nodes share its kernel. On another cluster there are none
//! to be seen, and the nemesis deletes pods instead.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;

/// Processes that share a container, or all those of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processes(Vec<u32>);

impl Processes {
    /// Those of a container, by its id without the runtime's prefix.
    pub fn of_container(id: &str) -> Self {
        Self::with_cgroup(|path| path.contains(id))
    }

    /// Those of all containers of a pod, by its UID; cgroup drivers write it with `-` or `_`.
    pub fn of_pod(uid: &str) -> Self {
        let (dashes, underscores) = (format!("pod{uid}"), format!("pod{}", uid.replace('-', "_")));
        Self::with_cgroup(|path| path.contains(&dashes) || path.contains(&underscores))
    }

    fn with_cgroup(wanted: impl Fn(&str) -> bool) -> Self {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Self(
            ids.filter(|id: &u32| {
                // A process may be gone by now.
                fs::read_to_string(format!("/proc/{id}/cgroup")).is_ok_and(|cgroups| wanted(&cgroups))
            })
            .collect(),
        )
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Sends a signal, by its name without `SIG`, to each. One that has gone meanwhile is none to be sorry for.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "kill -s \"$@\" 2>/dev/null || true", "kill", name]);
        command.args(self.0.iter().map(u32::to_string));
        command.status().map(drop)
    }

    /// The network that they share.
    ///
    /// # Errors
    /// None of them is there any more.
    pub fn network(&self) -> io::Result<Network> {
        // The first may be a probe of the kubelet that is gone by now.
        let mut opened = self
            .0
            .iter()
            .map(|id| fs::File::open(format!("/proc/{id}/ns/net")));
        opened
            .find_map(Result::ok)
            .map(Network)
            .ok_or_else(|| io::Error::other("it has no processes any more"))
    }
}

/// The network of a pod. It is held open, so that what was cut can be healed whatever becomes of its processes.
#[derive(Debug)]
pub struct Network(fs::File);

impl Network {
    /// Lets nothing in or out, or lets it again. What a container says to itself goes on.
    ///
    /// # Errors
    /// `nsenter` or `iptables` does not do it; the other direction is tried all the same.
    pub fn cut(&self, cut: bool) -> io::Result<()> {
        let network = format!("--net=/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd());
        let mut result = Ok(());
        for (chain, direction) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
            let action = if cut { "-I" } else { "-D" };
            let rule = [
                "iptables", "-w", action, chain, "!", direction, "lo", "-j", "DROP",
            ];
            let status = Command::new("nsenter").arg(&network).args(rule).status()?;
            if !status.success() {
                result = Err(io::Error::other(format!("iptables {action} {chain}: {status}")));
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_is_of_a_container_that_does_not_exist() {
        assert!(Processes::of_container("0123456789abcdef-no-such-container").is_empty());
        let of_pod = Processes::of_pod("0123456789abcdef-no-such-pod");
        assert!(of_pod.is_empty());
        assert!(of_pod.network().is_err());
    }
}
