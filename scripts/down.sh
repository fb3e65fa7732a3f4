#!/usr/bin/env bash
# Undoes `make up`: the lab with all that is in it or, with KUBE_CONTEXT, what was installed into that cluster.
. "$(dirname "$0")/environment.sh"

if [ -z "${KUBE_CONTEXT:-}" ]; then
  "$LAB" down
  exit
fi
remove_hub() {
  kube -n "$NAMESPACE" patch "flickrhub/$HUB" --type merge -p '{"spec":{"deletionPolicy":"Delete"}}' || true
  kube -n "$NAMESPACE" delete "flickrhub/$HUB" --ignore-not-found --wait --timeout=5m
  kube delete namespace "$NAMESPACE" --ignore-not-found
}
remove_operator() {
  helm_ uninstall flickrhub-operator --namespace "$OPERATOR_NAMESPACE" --ignore-not-found
  kube delete -f "$ROOT/crds" --ignore-not-found
  kube delete namespace "$OPERATOR_NAMESPACE" --ignore-not-found
}
step "Removing FlickrHub/$HUB with its data" remove_hub
step "Removing the operator" remove_operator
