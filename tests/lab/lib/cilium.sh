# shellcheck shell=bash
# Which network plugin a lab has. The bridge is simple and enforces no NetworkPolicy; Cilium enforces them, and needs a
# compiler on every node, since it compiles its programs for the kernel at its start.

lab_cni() { cat "$STATE/cni" 2>/dev/null || echo bridge; }

CILIUM_HOST_COMMANDS="clang-19:clang-19"

FILES[cilium]="cilium/go.mod cilium/go.sum"
# The module's own go.mod names a commit of gobgp that the module proxy does not serve; cilium/go.mod is that file with
# the release after it.
recipe_cilium() {
  local version=v1.20.2 module=github.com/cilium/cilium source stamp
  stamp="-s -w -X $module/pkg/version.ciliumVersion=1.20.2"
  source=$(cd / && go mod download -json "$module@$version" | jq -r .Dir)
  go_environment "$1"
  mkdir -p "$1/crds"
  cp "$LAB_HOME"/cilium/go.* "$1/"
  cd "$source"
  local program
  for program in daemon:cilium-agent cilium-dbg:cilium-dbg plugins/cilium-cni:cilium-cni; do
    locked go-build nice -n 5 go build -mod=mod -modfile="$1/go.mod" -trimpath -ldflags "$stamp" \
      -o "$1/bin/${program#*:}" "./${program%%:*}"
  done
  cp -r bpf "$1/bpf"
  find pkg/k8s/apis/cilium.io/client/crds -name '*.yaml' -exec cp {} "$1/crds/" \;
  chmod -R u+w "$1"
  ln -s /usr/bin/clang-19 "$1/bin/clang"
  rm "$1"/go.*
}

cilium_install() {
  HOST_COMMANDS=$CILIUM_HOST_COMMANDS host_packages_install
  artefact_ensure cilium
}

cilium_crds_apply() {
  kubectl_admin apply --server-side --force-conflicts -f "$(artefact_dir cilium)/crds" >/dev/null
  kubectl_admin wait --for=condition=Established crd --all --timeout=60s >/dev/null
}

# Runs in node-init. The pod network stays the lab's own (native routing, no tunnel, kube-proxy as it is); Cilium only
# plugs the pods in and enforces policy.
cilium_node_start() {
  local cilium
  cilium=$(artefact_dir cilium)
  mount -t bpf bpf /sys/fs/bpf
  mkdir -p /run/cilium/cgroupv2 "$home/cilium" /var/lib/cilium
  mount -t cgroup2 none /run/cilium/cgroupv2
  mount --bind "$home/cilium" /var/lib/cilium
  mkdir -p /var/lib/cilium/bpf
  mount --bind "$cilium/bpf" /var/lib/cilium/bpf
  ln -sf "$cilium/bin/cilium-cni" "$home/cni-bin/cilium-cni"
  # Written here, whole and before the kubelet: containerd misses the rename with which the agent would put it there.
  echo '{"cniVersion": "1.0.0", "name": "cilium", "plugins": [{"type": "cilium-cni", "enable-debug": false, "log-file": "/run/cilium/cilium-cni.log"}]}' \
    >"$home/cni-conf/05-cilium.conflist"
  PATH=$cilium/bin:$PATH K8S_NODE_NAME=$node CILIUM_K8S_NAMESPACE=kube-system GOMEMLIMIT=400MiB \
    supervised cilium "$cilium/bin/cilium-agent" --k8s-kubeconfig-path="$ADMIN_KUBECONFIG" \
    --identity-allocation-mode=crd --ipam=kubernetes --cni-exclusive=false \
    --routing-mode=native --ipv4-native-routing-cidr="$POD_NET.0.0/16" --auto-direct-node-routes=false \
    --devices=eth0 --direct-routing-device=eth0 --enable-endpoint-routes=true \
    --enable-ipv6=false --enable-ipv4-masquerade=false --kube-proxy-replacement=false \
    --enable-l7-proxy=false --enable-health-checking=false --enable-endpoint-health-checking=false \
    --enable-hubble=false --enable-gops=false \
    --cgroup-root=/run/cilium/cgroupv2 --bpf-root=/sys/fs/bpf \
    --preallocate-bpf-maps=false --bpf-map-dynamic-size-ratio=0.0005
}
