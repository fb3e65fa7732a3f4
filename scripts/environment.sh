# shellcheck shell=bash disable=SC2034
# Sourced by every script: where things are, and how to say what is happening.
#
# FLICKRHUB_CACHE  what is worth keeping between runs and clones (default ~/.cache/flickrhub)
# KUBE_CONTEXT     use this context of the current kubeconfig instead of the lab
# LAB_NAME         name of the lab cluster (two names can run side by side; the tests use `test`)

set -euo pipefail
shopt -s inherit_errexit

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export FLICKRHUB_CACHE=${FLICKRHUB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flickrhub}
# Where deny.toml finds the databases of advisories: clones share them.
export FLICKRHUB_ADVISORIES=$FLICKRHUB_CACHE/advisories
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$FLICKRHUB_CACHE/target}
export LAB_NAME=${LAB_NAME:-lab}
export CARGO_TERM_PROGRESS_WHEN=never
LAB=$ROOT/tests/lab/lab
TOOLS=$FLICKRHUB_CACHE/tools/bin
export PATH=$TOOLS:$HOME/.cargo/bin:$PATH

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -1)
HUB=gallery
NAMESPACE=${NAMESPACE:-flickrhub-demo}
OPERATOR_NAMESPACE=flickrhub-system

# Scripts that are called by another count from where that one began.
export FLICKRHUB_STARTED=${FLICKRHUB_STARTED:-$(date +%s)}
started=$FLICKRHUB_STARTED

# say TEXT: one line of progress, with the seconds since the command began.
say() { printf '\033[1m[%4ss]\033[0m %s\n' "$(($(date +%s) - started))" "$*"; }

# step TEXT COMMAND…: says what begins, runs it, says how long it took; shows the output only of a failure.
step() {
  local text=$1 began status log
  shift
  began=$(date +%s)
  say "$text …"
  log=$(mktemp)
  # Not `"$@" || status=$?`: that would switch off `set -e` inside a function that is called this way.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1
  status=$?
  set -e
  if [ "$status" -ne 0 ]; then
    cat "$log"
    say "FAILED: $text (exit $status after $(($(date +%s) - began)) s)"
    rm -f "$log"
    return "$status"
  fi
  rm -f "$log"
  say "$text: done in $(($(date +%s) - began)) s"
}

# in_cluster_network COMMAND…: runs a command that talks to the cluster; inside the lab's network when it is the lab.
in_cluster_network() {
  if [ -n "${KUBE_CONTEXT:-}" ]; then "$@"; else "$LAB" run "$@"; fi
}

kube() {
  if [ -n "${KUBE_CONTEXT:-}" ]; then kubectl --context "$KUBE_CONTEXT" "$@"; else "$LAB" kubectl "$@"; fi
}

helm_() {
  if [ -n "${KUBE_CONTEXT:-}" ]; then helm --kube-context "$KUBE_CONTEXT" "$@"; else "$LAB" run "$("$LAB" bin)/helm" "$@"; fi
}
