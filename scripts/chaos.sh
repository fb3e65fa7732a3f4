#!/usr/bin/env bash
# Jobs under failures: brings up a lab of its own ('chaos') with a hub, kills its parts by a seed, and checks what the hub
# promises (docs/guarantees.md). The lab stays for a look when something was found, and with KEEP_LAB=1.
#
# SEED      what is done follows from it (by the clock without it)
# CHAOS_SECONDS  how long (default 180); `make chaos SECONDS=` hands it over, as bash counts in SECONDS by itself
# CLIENTS   how many clients submit at the same time (default 24)
# NODES     nodes of the lab; with more than one, nodes are stopped and cut off, too (default 1)
# NAMESPACE where the hub is (default flickrhub-chaos)
# ARGUMENTS further ones of the program, such as --calm
export LAB_NAME=${LAB_NAME:-chaos} NAMESPACE=${NAMESPACE:-flickrhub-chaos}
length=${CHAOS_SECONDS:-180}
. "$(dirname "$0")/environment.sh"

"$ROOT/scripts/install.sh"
cd "$ROOT"
say "Cluster: the lab '$LAB_NAME'"
"$LAB" up --nodes "${NODES:-1}"
scripts/images.sh
scripts/deploy.sh
config=$(scripts/data-tier-config.sh)
step "Building the harness" cargo build --locked -p flickrhub-chaos

arguments=(--seconds "$length" --clients "${CLIENTS:-24}")
[ -z "${SEED:-}" ] || arguments+=(--seed "$SEED")
# shellcheck disable=SC2206
arguments+=(${ARGUMENTS:-})
status=0
FLICKRHUB_LAB=$LAB FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_TEST_NAMESPACE=$NAMESPACE FLICKRHUB_TEST_HUB=$HUB \
  "$LAB" run "$CARGO_TARGET_DIR/debug/chaos" "${arguments[@]}" || status=$?
if [ "$status" -eq 0 ] && [ "${KEEP_LAB:-}" != 1 ]; then "$LAB" down; fi
exit "$status"
