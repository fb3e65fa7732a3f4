#!/usr/bin/env bash
# Runs the tests: `test.sh` all of them, `test.sh unit` those that need no server.
#
# The others run inside the network of a lab of their own ('test'), against the very pods that the operator makes:
# integration tests against its Redis, MongoDB, RabbitMQ and OpenBao, operator tests against its API server, and end
# to end through the API. KEEP_LAB=1 leaves the lab up for a look; it is used again by the next run.
export LAB_NAME=${LAB_NAME:-test}
. "$(dirname "$0")/environment.sh"

passed=0 failed=0 skipped=0

# run_tests TITLE ARGUMENTS…: one run of the test runner, counted from its summary.
run_tests() {
  local title=$1 log summary status=0
  shift
  say "$title"
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  summary=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -E '^ *Summary ' | tail -1 || true)
  count() { grep -oE "[0-9]+ $1" <<<"$summary" | grep -oE '[0-9]+' || echo 0; }
  passed=$((passed + $(count passed)))
  failed=$((failed + $(count failed) + $(count 'timed out')))
  skipped=$((skipped + $(count skipped)))
  rm -f "$log"
  # A run that ended badly without a failed test (a build error, no test found) is a failure all the same.
  if [ "$status" -ne 0 ] && [ "$(count failed)" -eq 0 ]; then failed=$((failed + 1)); fi
}

finish() {
  say "Tests took $(($(date +%s) - started)) s"
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

"$ROOT/scripts/install.sh"
cd "$ROOT"
run_tests "Unit tests (the rest is skipped here and runs in the lab)" \
  cargo nextest run --locked --workspace --no-fail-fast --status-level fail --final-status-level fail
skipped=0
if [ "${1:-}" = unit ]; then
  finish
  exit
fi

[ "${KEEP_LAB:-}" = 1 ] || trap '"$LAB" down >/dev/null 2>&1 || true' EXIT
say "Cluster: the lab '$LAB_NAME'"
"$LAB" up
scripts/images.sh
NAMESPACE=flickrhub-test scripts/deploy.sh
# Tests that change a hub under load make more requests in an hour than Flickr allows one application.
raise_budget() {
  kube -n flickrhub-test patch "flickrhub/$HUB" --type json \
    --patch '[{"op": "add", "path": "/spec/flickr/apps/0/requestsPerHour", "value": 1000000}]'
}
step "A budget that is enough for the tests" raise_budget
config=$(NAMESPACE=flickrhub-test scripts/data-tier-config.sh)

# Processes that die where a test says. Their programs are kept apart: images are made of those without the feature.
build_with_fail_points() {
  cargo build --locked -p flickrhub-api -p flickrhub-worker --features flickrhub-api/fail-points,flickrhub-worker/fail-points
  mkdir -p "$CARGO_TARGET_DIR/fail-points"
  mv "$CARGO_TARGET_DIR/debug/flickrhub-api" "$CARGO_TARGET_DIR/debug/flickrhub-worker" "$CARGO_TARGET_DIR/fail-points/"
}
step "Programs with fail-points" build_with_fail_points

# Test binaries were built above; inside the lab's network there is no registry to ask.
run_in_lab() {
  # Tests of single engine steps start servers of their own on loopback: the programs of the images.
  FLICKRHUB_TEST_REDIS=$("$LAB" program redis redis-server) \
    FLICKRHUB_TEST_MONGOD=$("$LAB" program mongo mongod) \
    FLICKRHUB_TEST_BAO=$("$LAB" program openbao bao) \
    FLICKRHUB_TEST_ETCD=$("$LAB" binary etcd etcd) \
    FLICKRHUB_TEST_APISERVER=$("$LAB" binary kubernetes kube-apiserver) \
    FLICKRHUB_FAIL_POINTS_BIN=$CARGO_TARGET_DIR/fail-points FLICKRHUB_LAB=$LAB \
    CARGO_NET_OFFLINE=true FLICKRHUB_TEST_CONFIG=$config FLICKRHUB_TEST_NAMESPACE=flickrhub-test FLICKRHUB_TEST_HUB=$HUB \
    "$LAB" run cargo nextest run --locked --workspace --no-fail-fast --run-ignored only --profile lab \
    --status-level pass --final-status-level fail
}
run_tests "Tests in the lab (integration, operator, end to end)" run_in_lab
finish
