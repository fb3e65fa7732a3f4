#!/usr/bin/env bash
# That NetworkPolicies hold: brings up a lab of its own ('network') whose network plugin, Cilium, enforces them, and a hub in
# it; runs jobs through the hub, and then tries every connection between pods of its components.
#
# KEEP_LAB=1   leave the lab up; the next run uses it
export LAB_NAME=${LAB_NAME:-network} NAMESPACE=${NAMESPACE:-flickrhub-network}
. "$(dirname "$0")/environment.sh"

"$ROOT/scripts/install.sh"
cd "$ROOT"
[ "${KEEP_LAB:-}" = 1 ] || trap '"$LAB" down >/dev/null 2>&1 || true' EXIT
say "Cluster: the lab '$LAB_NAME', with Cilium"
"$LAB" up --cni cilium
scripts/images.sh
scripts/deploy.sh
step "Building the tests" cargo build --locked -p flickrhub-e2e --tests
say "Tests where NetworkPolicies are enforced"
CARGO_NET_OFFLINE=true FLICKRHUB_TEST_NAMESPACE=$NAMESPACE FLICKRHUB_TEST_HUB=$HUB FLICKRHUB_LAB=$LAB \
  "$LAB" run cargo nextest run --locked -p flickrhub-e2e --no-fail-fast --run-ignored all --profile network \
  --status-level pass --final-status-level fail --no-capture
