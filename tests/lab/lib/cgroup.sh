# shellcheck shell=bash
# Every process of a lab is in a cgroup of the freezer hierarchy: one for the control plane, one for the commands of
# `lab run`, one for each node (with its containers below it). That is how a node dies as a whole: freeze the tree so
# that nobody can fork, SIGKILL everyone, thaw. It is also how `down` leaves nothing behind.

CGROUPS=/sys/fs/cgroup
CGROUP_CONTROLLERS="blkio cpu cpuacct cpuset devices freezer memory pids systemd"

cgroup_require() {
  [ -d $CGROUPS/freezer ] || die "needs the cgroup v1 (or hybrid) hierarchy with a freezer under $CGROUPS"
}

cgroup_name() { echo "flickrhub-$LAB_NAME-$1"; }

# cgroup_create NAME: in every hierarchy; cpuset wants its cores and memory nodes spelt out.
cgroup_create() {
  local group c
  group=$(cgroup_name "$1")
  for c in $CGROUP_CONTROLLERS; do
    if [ -d $CGROUPS/"$c" ]; then mkdir -p "$CGROUPS/$c/$group"; fi
  done
  if [ -d $CGROUPS/cpuset ]; then
    cat $CGROUPS/cpuset/cpuset.cpus >"$CGROUPS/cpuset/$group/cpuset.cpus"
    cat $CGROUPS/cpuset/cpuset.mems >"$CGROUPS/cpuset/$group/cpuset.mems"
  fi
}

# cgroup_enter NAME: moves the calling shell, and so what it will exec, into the freezer cgroup.
cgroup_enter() {
  local dir
  dir=$CGROUPS/freezer/$(cgroup_name "$1")
  mkdir -p "$dir"
  echo $BASHPID >"$dir/cgroup.procs"
}

cgroup_pids() {
  local dir
  dir=$CGROUPS/freezer/$(cgroup_name "$1")
  if [ -d "$dir" ]; then find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true; fi
}

cgroup_alive() { [ -n "$(cgroup_pids "$1")" ]; }

cgroup_freeze() { echo FROZEN >"$CGROUPS/freezer/$(cgroup_name "$1")/freezer.state"; }
cgroup_thaw() { echo THAWED >"$CGROUPS/freezer/$(cgroup_name "$1")/freezer.state"; }
cgroup_state() { cat "$CGROUPS/freezer/$(cgroup_name "$1")/freezer.state" 2>/dev/null || echo GONE; }

cgroup_kill() {
  local pids i
  for ((i = 0; i < 50; i++)); do
    pids=$(cgroup_pids "$1")
    [ -n "$pids" ] || return 0
    cgroup_freeze "$1" 2>/dev/null || return 0
    # shellcheck disable=SC2046
    kill -KILL $(cgroup_pids "$1") 2>/dev/null || true
    cgroup_thaw "$1" 2>/dev/null || return 0
    sleep 0.1
  done
  die "some processes of $1 do not die: $(cgroup_pids "$1" | tr '\n' ' ')"
}

# cgroup_remove NAME: the cgroups of dead containers too. A kubelet that finds old ones takes seconds over each.
# In every hierarchy, also in cgroup v2's, where nobody here makes any but the kubelet does.
cgroup_remove() {
  local hierarchy group
  group=$(cgroup_name "$1")
  for hierarchy in "$CGROUPS"/*/; do
    if [ -d "$hierarchy$group" ]; then find "$hierarchy$group" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
  done
}
