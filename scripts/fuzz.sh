#!/usr/bin/env bash
# Fuzzes what reads the bytes of strangers: each target of tests/fuzz for FUZZ_SECONDS under libFuzzer, on the pinned
# stable toolchain. FUZZ_TARGETS names some of them; FUZZ_KEEP=1 adds what was found to the corpus in the repository.
#
# Inputs that reach something new are kept in $FLICKRHUB_CACHE/fuzz, so that a run goes on where the one before it ended.
# One that makes a target fail is written to $FLICKRHUB_CACHE/fuzz/failures and named; put it into tests/fuzz/corpus.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

seconds=${FUZZ_SECONDS:-60}
corpora=$FLICKRHUB_CACHE/fuzz
failures=$corpora/failures
program=$CARGO_TARGET_DIR/debug/flickrhub-fuzz

"$ROOT/scripts/install.sh"
build() {
  # Only the crates of the workspace are instrumented: theirs is the code in question, and what they depend on is not
  # compiled a second time.
  RUSTC_WORKSPACE_WRAPPER=$ROOT/tests/fuzz/rustc-with-coverage \
    cargo build --locked -p flickrhub-fuzz --features libfuzzer
}
step "Fuzz targets" build

read -ra targets <<<"${FUZZ_TARGETS:-$(cd tests/fuzz/corpus && echo *)}"
mkdir -p "$failures"

run() {
  local target=$1
  mkdir -p "$corpora/$target"
  FUZZ_TARGET=$target "$program" "$corpora/$target" "tests/fuzz/corpus/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="$failures/$target-"
}

keep() {
  local target=$1 least
  least=$(mktemp -d)
  FUZZ_TARGET=$target "$program" -merge=1 "$least" "tests/fuzz/corpus/$target" "$corpora/$target" 2>/dev/null
  find "$least" -type f -size -2k -exec cp -n {} "tests/fuzz/corpus/$target/" \;
  rm -rf "$least"
}

failed=()
for target in "${targets[@]}"; do
  log=$(mktemp)
  say "$target for $seconds s …"
  if run "$target" >"$log" 2>&1; then
    say "$target: $(grep -E '^stat::number_of_executed_units' "$log" | grep -oE '[0-9]+$') inputs, $(find "$corpora/$target" -type f | wc -l) kept"
    if [ "${FUZZ_KEEP:-}" = 1 ]; then keep "$target"; fi
  else
    tail -60 "$log"
    failed+=("$target")
  fi
  rm -f "$log"
done
if [ "${#failed[@]}" -gt 0 ]; then
  say "FAILED: ${failed[*]}; the inputs are in $failures"
  exit 1
fi
