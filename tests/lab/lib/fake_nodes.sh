# shellcheck shell=bash
# Fake nodes (kwok): objects that behave as nodes and pods do, with nothing behind them, so that a lab can look like a
# cluster of hundreds of nodes. They are named f1, f2, … and tainted: a pod lands there only if it tolerates `kwok`.

recipe_kwok() {
  local module=sigs.k8s.io/kwok@v0.8.0 stages file
  go_install "$1" sigs.k8s.io/kwok/cmd/kwok@v0.8.0
  stages=$(cd / && go mod download -json $module | jq -r .Dir)/kustomize/stage
  for file in node/fast/node-initialize node/heartbeat-with-lease/node-heartbeat-with-lease \
    pod/fast/pod-ready pod/fast/pod-complete pod/fast/pod-delete; do
    cat "$stages/$file.yaml"
    echo ---
  done >"$1/stages.yaml"
}

fake_nodes_up() {
  local count=$1
  artefact_ensure kwok
  if [ ! -e "$STATE/fake-nodes" ]; then
    touch "$STATE/fake-nodes"
    # with the longer grace period from now on
    control_plane_stop_process controller-manager
    controller_manager_start
  fi
  control_plane_process kwok "$(artefact_dir kwok)/bin/kwok" --kubeconfig="$ADMIN_KUBECONFIG" \
    --manage-all-nodes=false --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
    --cidr="$FAKE_POD_CIDR" --node-ip="$CONTROL_PLANE_IP" --node-lease-duration-seconds=40 \
    --config="$(artefact_dir kwok)/stages.yaml" --server-address="$CONTROL_PLANE_IP:10247"
  # `create` complains about those that are there already, and makes the others
  fake_node_list "$count" | kubectl_admin create -f - >/dev/null 2>&1 || true
  wait_until "$PATIENCE" "$count fake nodes" fake_nodes_ready "$count"
}

fake_node_list() {
  jq -n --argjson count "$1" '{apiVersion: "v1", kind: "List", items: [range(1; $count + 1) | "f\(.)" as $name | {
    apiVersion: "v1", kind: "Node",
    metadata: {name: $name, annotations: {"kwok.x-k8s.io/node": "fake"}, labels: {type: "kwok", "kubernetes.io/hostname": $name}},
    spec: {taints: [{key: "kwok", value: "fake", effect: "NoSchedule"}]},
    status: {allocatable: {cpu: "32", memory: "256Gi", pods: "110"}, capacity: {cpu: "32", memory: "256Gi", pods: "110"}}}]}'
}

fake_nodes_ready() {
  [ "$(kubectl_admin get nodes -l type=kwok --no-headers | awk '$2 == "Ready"' | wc -l)" -ge "$1" ]
}
