# shellcheck shell=bash
# What a cluster needs besides Kubernetes itself: DNS, a default StorageClass, metrics.

addons_apply() {
  local file files="coredns storage"
  if lab_has_metrics; then files+=" metrics-server"; fi
  for file in $files; do
    sed -e "s|@DNS_IP@|$DNS_IP|" -e "s|@CLUSTER_DOMAIN@|$CLUSTER_DOMAIN|" "$LAB_HOME/manifests/$file.yaml"
    echo ---
  done | kubectl_admin apply -f - >/dev/null
}

deployment_available() {
  [ "$(kubectl_admin -n "$1" get deployment "$2" -o 'jsonpath={.status.conditions[?(@.type=="Available")].status}')" = True ]
}

metrics_served() {
  [ "$(kubectl_admin get apiservice v1beta1.metrics.k8s.io -o 'jsonpath={.status.conditions[?(@.type=="Available")].status}')" = True ]
}

# An aggregated API that is registered but does not answer breaks more than itself (no namespace can be deleted, Helm
# refuses), so a lab is up only when it does.
addons_wait() {
  wait_until "$PATIENCE" "CoreDNS" deployment_available kube-system coredns
  wait_until "$PATIENCE" "the volume provisioner" deployment_available kube-system local-path-provisioner
  if lab_has_metrics; then wait_until "$PATIENCE" "the metrics API" metrics_served; fi
}
