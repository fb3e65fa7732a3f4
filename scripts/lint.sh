#!/usr/bin/env bash
# Formatting, clippy, dependency rules, and that generated files agree with the code.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

"$ROOT/scripts/install.sh" --lint
step "rustfmt" cargo fmt --all --check
step "clippy" cargo clippy --locked --workspace --all-targets --keep-going -- -D warnings
step "clippy with fail-points" cargo clippy --locked -p flickrhub-api -p flickrhub-worker \
  --features flickrhub-api/fail-points,flickrhub-worker/fail-points -- -D warnings
step "clippy of the fuzz program" cargo clippy --locked -p flickrhub-fuzz --features libfuzzer -- -D warnings
dependencies_keep_the_rules() {
  # Of every platform: the tree is judged as a whole.
  cargo fetch --locked
  cargo deny --offline check bans licenses sources
}
step "cargo deny (bans, licences, sources)" dependencies_keep_the_rules
scripts/advisories.sh --offline
step "cargo machete (unused dependencies)" cargo machete
step "Images are named by digest, or are exceptions with a reason" scripts/digests.sh
generated_files_agree() {
  scripts/generate.sh
  git diff --exit-code -- crds charts api/openapi.json docs/problems.md
}
step "Generated files agree with the code" generated_files_agree
