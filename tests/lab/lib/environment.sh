# shellcheck shell=bash
# What every part of the lab shares: where things are, the address plan, and how it talks.

LAB_NAME=${LAB_NAME:-lab}
[[ $LAB_NAME =~ ^[a-z][a-z0-9]{0,11}$ ]] || { echo "lab: LAB_NAME must be 1-12 of a-z0-9: '$LAB_NAME'" >&2; exit 2; }

# The cache outlives labs; the state of a lab dies with it. The state is on a disk, not below /run: the nodes keep
# their images and volumes there.
CACHE=${FLICKRHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flickrhub}/lab
STATE_ROOT=${FLICKRHUB_LAB_STATE:-/var/tmp/flickrhub-lab}
STATE=$STATE_ROOT/$LAB_NAME

# Address plan. A lab has no uplink, so two labs use the same addresses without ever meeting.
NODE_NET=10.251.0              # .1 is the control plane, .1N is node N
CONTROL_PLANE_IP=$NODE_NET.1
POD_NET=10.246                 # node N has $POD_NET.N.0/24
FAKE_POD_CIDR=10.248.0.0/16    # what kwok hands out to pods that do not exist
SERVICE_CIDR=10.97.0.0/16
API_SERVICE_IP=10.97.0.1
DNS_IP=10.97.0.10
CLUSTER_DOMAIN=cluster.local

node_ip() { echo "$NODE_NET.$((10 + ${1#n}))"; }
node_pod_cidr() { echo "$POD_NET.${1#n}.0/24"; }

# How long, in seconds, to wait for something that takes two on an idle machine: machines are not always idle.
PATIENCE=${LAB_PATIENCE:-300}

say() { printf 'lab: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# timed WHAT COMMAND…: runs COMMAND and says how long it took.
timed() {
  local what=$1 start=${EPOCHREALTIME/./} tenths rc=0
  shift
  "$@" || rc=$?
  tenths=$(((${EPOCHREALTIME/./} - start + 50000) / 100000))
  if [ "$rc" = 0 ]; then say "$what ($((tenths / 10)).$((tenths % 10)) s)"; else say "$what: FAILED"; fi
  return "$rc"
}

# wait_until SECONDS WHAT COMMAND…: polls COMMAND until it succeeds.
wait_until() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || die "gave up waiting for $what"
    sleep 0.2
  done
}

# locked NAME COMMAND…: runs COMMAND while holding a lock that all labs of this machine share. The lock is
# closed for the children of COMMAND that outlive it only if they close it themselves, so nothing that starts a
# daemon may run under a lock.
locked() {
  local name=$1 fd rc=0
  shift
  mkdir -p "$CACHE/locks"
  exec {fd}>"$CACHE/locks/$name"
  flock "$fd"
  "$@" || rc=$?
  exec {fd}>&-
  return "$rc"
}

require_root() { [ "$(id -u)" = 0 ] || die "needs root: it makes network namespaces, mounts and cgroups"; }

# The names of the nodes that this lab has, dead or alive.
lab_nodes() {
  local d
  for d in "$STATE"/nodes/*/; do [ -d "$d" ] && basename "$d"; done
  return 0
}

node_must_exist() { [ -d "$STATE/nodes/${1:-}" ] || die "no node '${1:-}' (have: $(lab_nodes | tr '\n' ' '))"; }
