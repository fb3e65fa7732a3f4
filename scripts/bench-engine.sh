#!/usr/bin/env bash
# Measures the job engine: `bench-engine.sh [BENCH…] [OPTION…]`; no BENCH means all of them.
#
# It brings up a lab of its own ('bench') with a hub of optimised images (PROFILE) and takes it away again; KEEP_LAB=1
# leaves it up for the next run. DEPLOYED=1 measures the hub that a lab has already, and changes neither lab nor images:
# DEPLOYED=1 LAB_NAME=test NAMESPACE=flickrhub-test. Figures go to the standard output and to target/bench/engine.jsonl.
#
# The benches `window` and `budget` are the tests that compare the scripts with exact logs, by a clock of their own and with
# more requests than `make test` has time for (REQUESTS): what is measured is what is asserted.
. "$(dirname "$0")/bench-lab.sh"

# The bench itself is not measured, and built as the tests are.
step "Building the bench" cargo build --locked --package flickrhub-bench

# figures_of_test TEST: runs it in the lab and keeps the figures that it prints.
figures_of_test() {
  FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_ADMISSION_REQUESTS=${REQUESTS:-1000000} CARGO_NET_OFFLINE=true \
    "$LAB" run cargo nextest run --locked --package flickrhub-job --run-ignored only --profile lab --no-capture \
    -E "test($1)" 2>&1 | tee >(grep --line-buffered '^{"bench"' >>"$ROOT/target/bench/engine.jsonl")
}

benches=() tests=()
for argument in "$@"; do
  case $argument in
    window) tests+=(no_request_is_decided_otherwise_than_by_exact_logs) ;;
    budget) tests+=(no_hour_is_ever_over_and_nearly_all_of_each_is_used) ;;
    *) benches+=("$argument") ;;
  esac
done
# Options are no benches: without any, all run.
if [ "${#tests[@]}" -eq 0 ] && ! [[ "$*" =~ (^| )[a-z] ]]; then
  tests=(no_request_is_decided_otherwise_than_by_exact_logs no_hour_is_ever_over_and_nearly_all_of_each_is_used)
  all=1
fi
mkdir -p "$ROOT/target/bench"

# 10,000 connections need as many open files, here and in the API's pods.
ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -Hn)"
export FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_TEST_NAMESPACE=$NAMESPACE FLICKRHUB_TEST_HUB=$HUB
say "Measuring FlickrHub/$HUB in $NAMESPACE"
status=0
if [ "${#benches[@]}" -gt 0 ] || [ -n "${all:-}" ]; then
  "$LAB" run "$CARGO_TARGET_DIR/debug/bench-engine" "${benches[@]}" || status=$?
fi
for test in "${tests[@]}"; do figures_of_test "$test" || status=$?; done
exit "$status"
