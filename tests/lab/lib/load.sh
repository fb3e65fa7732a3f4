# shellcheck shell=bash
# Loads all parts of the lab; LAB_HOME must be set.
for part in environment cgroup network artefacts debian binaries rootfs images pki control_plane nodes addons cilium fake_nodes; do
  # shellcheck source=/dev/null
  . "$LAB_HOME/lib/$part.sh"
done
unset part
