#!/usr/bin/env bash
# Measures for how long an engine takes no writes when its leader is lost, and how soon another process does the work of an
# operator that is lost: `bench-failover.sh [OPTION…]`.
#
# It brings up a lab of its own ('bench') with a hub and takes it away again; KEEP_LAB=1 leaves it up for the next run.
# DEPLOYED=1 measures the hub that a lab has already: DEPLOYED=1 LAB_NAME=test NAMESPACE=flickrhub-test. That hub's
# resource stays changed. Figures go to the standard output and to target/bench/failover.jsonl.
. "$(dirname "$0")/bench-lab.sh"

step "Building the bench" cargo build --locked --package flickrhub-bench --bin bench-failover
mkdir -p "$ROOT/target/bench"
export FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_TEST_NAMESPACE=$NAMESPACE FLICKRHUB_TEST_HUB=$HUB
say "Measuring FlickrHub/$HUB in $NAMESPACE"
"$LAB" run "$CARGO_TARGET_DIR/debug/bench-failover" "$@"
