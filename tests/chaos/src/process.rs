//! The processes of a pod, as this machine sees them: the lab's nodes share its kernel. On another cluster there are none
//! to be seen, and the nemesis deletes pods instead.

use std::fs;
use std::io;
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

    /// Lets nothing in or out of the network that they share, or lets it again. What a container says to itself goes on.
    pub fn cut(&self, cut: bool) -> io::Result<()> {
        let Some(id) = self.0.first() else {
            return Ok(());
        };
        let network = format!("--net=/proc/{id}/ns/net");
        for (chain, direction) in [("INPUT", "-i"), ("OUTPUT", "-o")] {
            let action = if cut { "-I" } else { "-D" };
            let rule = [
                "iptables", "-w", action, chain, "!", direction, "lo", "-j", "DROP",
            ];
            let status = Command::new("nsenter").arg(&network).args(rule).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("iptables {action} {chain}: {status}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_process_is_of_a_container_that_does_not_exist() {
        assert!(Processes::of_container("0123456789abcdef-no-such-container").is_empty());
        assert!(Processes::of_pod("0123456789abcdef-no-such-pod").is_empty());
    }
}
