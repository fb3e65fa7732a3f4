#!/usr/bin/env bash
# From nothing to the result of a Flickr call: tools, cluster, images, operator, sample, demonstration.
. "$(dirname "$0")/environment.sh"

"$ROOT/scripts/install.sh"
if [ -n "${KUBE_CONTEXT:-}" ]; then
  say "Cluster: context $KUBE_CONTEXT"
  kube version >/dev/null
else
  say "Cluster: the lab '$LAB_NAME', a Kubernetes of its own on this machine"
  "$LAB" up
fi
"$ROOT/scripts/images.sh"
"$ROOT/scripts/deploy.sh"
"$ROOT/scripts/demo.sh"
say "Everything runs. Look around with 'tests/lab/lab kubectl -n $NAMESPACE get all'; undo with 'make down'."
