# shellcheck shell=bash
# Sourced by the benches that measure a hub: brings up a lab of its own ('bench') with a hub of optimised images (PROFILE), or
# takes the hub that a lab has already (DEPLOYED=1). Sets `config`: by which configuration its data tier is reached.
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
