#!/usr/bin/env bash
# Installs the operator by its chart, the Flickr mock, and the sample resource; waits until the hub is Ready.
. "$(dirname "$0")/environment.sh"

# random N: N random bytes in hexadecimal.
random() { openssl rand -hex "$1"; }

install_operator() {
  local registry=()
  [ -n "${IMAGE_REGISTRY:-}" ] && registry=(--set "image.repository=$IMAGE_REGISTRY/operator")
  kube apply --server-side --force-conflicts -f "$ROOT/crds"
  restricted_namespace "$OPERATOR_NAMESPACE"
  helm_ upgrade --install flickrhub-operator "$ROOT/charts/flickrhub-operator" \
    --namespace "$OPERATOR_NAMESPACE" --skip-crds \
    --set image.tag="$VERSION" "${registry[@]}" --wait --timeout 5m
}

# Whatever needs more than the restricted Pod Security Standard is refused, the project's own pods included.
restricted_namespace() {
  kube create namespace "$1" --dry-run=client -o yaml | kube apply -f -
  kube label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted
}

# One random application key, known to the hub and to the mock.
create_namespace_and_application_key() {
  restricted_namespace "$NAMESPACE"
  kube -n "$NAMESPACE" get secret flickr-app >/dev/null 2>&1 ||
    kube -n "$NAMESPACE" create secret generic flickr-app \
      --from-literal=consumerKey="$(random 16)" --from-literal=consumerSecret="$(random 8)"
}

# The manifests name the mock by the namespace of the demonstration; the tests use another one.
apply_sample() {
  kube kustomize "$ROOT/manifests/demo" | sed "s/flickrhub-demo/$NAMESPACE/g" | kube -n "$NAMESPACE" apply -f -
}

# Shows the conditions that are not true while it waits.
wait_until_ready() {
  local deadline=$(($(date +%s) + ${READY_TIMEOUT:-600})) shown="" now
  while ! kube -n "$NAMESPACE" wait --for=condition=Ready "flickrhub/$HUB" --timeout=2s >/dev/null 2>&1; do
    now=$(kube -n "$NAMESPACE" get "flickrhub/$HUB" -o json |
      jq -r '[.status.conditions[]? | select(.status != "True" and (.type | endswith("Ready")) and .type != "Ready")
              | "\(.type): \(.reason)"] | join(", ")')
    if [ "$now" != "$shown" ]; then
      say "  waiting for ${now:-the operator}"
      shown=$now
    fi
    if [ "$(date +%s)" -gt "$deadline" ]; then
      kube -n "$NAMESPACE" describe "flickrhub/$HUB" || true
      kube -n "$NAMESPACE" get pods -o wide || true
      kube -n "$OPERATOR_NAMESPACE" logs deploy/flickrhub-operator --tail=40 || true
      return 1
    fi
  done
}

step "Operator by its Helm chart" install_operator
step "Namespace $NAMESPACE and an application key" create_namespace_and_application_key
applied=$(date +%s)
step "Sample resource and the Flickr mock" apply_sample
say "Waiting for FlickrHub/$HUB to be Ready"
wait_until_ready
say "FlickrHub/$HUB is Ready $(($(date +%s) - applied)) s after it was applied"
