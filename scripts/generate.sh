#!/usr/bin/env bash
# Writes what is generated from the code: the CRDs, the chart's copy of them, the OpenAPI document,
# the list of problems.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

cargo run -q --locked -p flickrhub-operator -- crds >crds/flickrhub.dev_flickrhubs.yaml
cp crds/*.yaml charts/flickrhub-operator/crds/
cargo run -q --locked -p flickrhub-api -- openapi >api/openapi.json
cargo run -q --locked -p flickrhub-api -- problems >docs/problems.md
