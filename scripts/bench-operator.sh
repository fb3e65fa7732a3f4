#!/usr/bin/env bash
# Measures the operator: `bench-operator.sh [BENCH…] [OPTION…]`; no BENCH means all of them.
#
# It builds an optimised operator (PROFILE) and measures it against real API servers with their etcd on loopback: no root, no
# lab, no pods. Figures go to the standard output and to target/bench/operator.jsonl. BUILT=1 takes what is built already.
export PROFILE=${PROFILE:-optimised}
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

build() {
  cargo build --locked --profile "$PROFILE" --package flickrhub-operator
  # The bench itself is not measured, and built as the tests are.
  cargo build --locked --package flickrhub-bench --bin bench-operator
}
[ "${BUILT:-}" = 1 ] || step "Building the operator and the bench" build

mkdir -p "$ROOT/target/bench"
folder=$PROFILE
[ "$folder" != dev ] || folder=debug
say "Measuring"
"$CARGO_TARGET_DIR/debug/bench-operator" --operator "$CARGO_TARGET_DIR/$folder/flickrhub-operator" "$@"
