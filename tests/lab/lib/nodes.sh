# shellcheck shell=bash
# Nodes: each is a network namespace, a private mount namespace and a cgroup, in which node-init starts containerd,
# kubelet and kube-proxy.

node_ctr() {
  local node=$1
  shift
  "$(artefact_dir containerd)/bin/ctr" --address "$STATE/nodes/$node/containerd.sock" --namespace k8s.io "$@"
}

containerd_answers() { node_ctr "$1" version; }

node_register() {
  # The object is made before the kubelet comes: only so has it its pod CIDR from the first moment on.
  if kubectl_admin get node "$1" >/dev/null 2>&1; then return 0; fi
  kubectl_admin create -f - >/dev/null <<EOF
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "$1", "labels": {"kubernetes.io/hostname": "$1"}},
 "spec": {"podCIDR": "$(node_pod_cidr "$1")", "podCIDRs": ["$(node_pod_cidr "$1")"]}}
EOF
}

# node_boot NODE: starts it unless it runs. Its volumes, images and addresses are those it had before it died.
node_boot() {
  local node=$1
  if cgroup_alive "$node"; then return 0; fi
  cgroup_remove "$node"
  cgroup_create "$node"
  cgroup_create "$node/system"
  mkdir -p "$STATE/logs" "$STATE/nodes/$node"
  rm -f "$STATE/nodes/$node/containerd.sock"
  # What the dead node's network left: its pods' cables went with their namespaces, the bridge did not.
  ip -n "$(netns_name "$node")" link del cni0 2>/dev/null || true
  (
    cgroup_enter "$node/system"
    exec setsid nsenter --net="/run/netns/$(netns_name "$node")" unshare --mount --propagation private \
      "$LAB_HOME/lib/node-init" "$node" </dev/null >>"$STATE/logs/$node-init.log" 2>&1
  ) &
  wait_until "$PATIENCE" "containerd of $node (see $STATE/logs/$node-*.log)" containerd_answers "$node"
}

node_is() { [ "$(kubectl_admin get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = "$2" ]; }

nodes_wait_ready() {
  local node
  for node in "$@"; do wait_until "$PATIENCE" "node $node to be Ready (see $STATE/logs/$node-kubelet.log)" node_is "$node" True; done
}

# in_node NODE COMMAND…: a command inside the node's namespaces, where its mounts and its network are.
in_node() {
  local node=$1 pid
  shift
  pid=$(cat "$STATE/nodes/$node/init.pid")
  nsenter --target "$pid" --mount --net "$@"
}

# What an archive holds: NAME DIGEST of its image.
image_archive_identity() {
  tar -xOf "$1" --occurrence=1 index.json | jq -r '.manifests[0] | "\(.annotations["io.containerd.image.name"] // .annotations["org.opencontainers.image.ref.name"]) \(.digest)"'
}

# node_load_images NODE ARCHIVE…: imports those that the node does not have in exactly this version.
node_load_images() {
  local node=$1 archive have
  shift
  have=$(node_ctr "$node" images list | awk 'NR > 1 {print $1, $3}')
  for archive in "$@"; do
    if grep -qxF "$(image_archive_identity "$archive")" <<<"$have"; then continue; fi
    node_ctr "$node" images import --no-unpack=false "$archive" >/dev/null
  done
}
