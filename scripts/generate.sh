#!/usr/bin/env bash
# Writes what is generated from the code: the CRDs, the chart's copy of them, the OpenAPI document,
# the list of problems.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

for plural in flickrhubs flickrhubclients; do
  cargo run -q --locked -p flickrhub-operator -- crds "$plural" >"crds/flickrhub.dev_$plural.yaml"
done
cp crds/*.yaml charts/flickrhub-operator/crds/
cargo run -q --locked -p flickrhub-api -- openapi >api/openapi.json
cargo run -q --locked -p flickrhub-api -- problems >docs/problems.md
