#!/usr/bin/env bash
# Measures the job engine: `bench-engine.sh [BENCH…] [OPTION…]`; no BENCH means all of them.
#
# It brings up a lab of its own ('bench') with a hub of optimised images (PROFILE) and takes it away again; KEEP_LAB=1
# leaves it up for the next run. DEPLOYED=1 measures the hub that a lab has already, and changes neither lab nor images:
# DEPLOYED=1 LAB_NAME=test NAMESPACE=flickrhub-test. Figures go to the standard output and to target/bench/engine.jsonl.
export LAB_NAME=${LAB_NAME:-bench}
export NAMESPACE=${NAMESPACE:-flickrhub-bench}
export PROFILE=${PROFILE:-optimised}
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

if [ "${DEPLOYED:-}" = 1 ]; then
  config=$FLICKRHUB_CACHE/test-config/$LAB_NAME/config.yaml
  [ -f "$config" ] || config=$(scripts/data-tier-config.sh)
else
  "$ROOT/scripts/install.sh"
  [ "${KEEP_LAB:-}" = 1 ] || trap '"$LAB" down >/dev/null 2>&1 || true' EXIT
  say "Cluster: the lab '$LAB_NAME'"
  "$LAB" up
  scripts/images.sh
  scripts/deploy.sh
  config=$(scripts/data-tier-config.sh)
fi

# The bench itself is not measured, and built as the tests are.
step "Building the bench" cargo build --locked --package flickrhub-bench

# 10,000 connections need as many open files, here and in the API's pods.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
export FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_TEST_NAMESPACE=$NAMESPACE FLICKRHUB_TEST_HUB=$HUB
say "Measuring FlickrHub/$HUB in $NAMESPACE"
"$LAB" run "$CARGO_TARGET_DIR/debug/bench-engine" "$@"
