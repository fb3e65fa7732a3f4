# shellcheck shell=bash
# The control plane: etcd, API server, controller manager, scheduler, in a namespace of its own. A kube-proxy runs there
# too, so that commands of `lab run` reach ClusterIPs.

kubectl_admin() { in_netns control-plane "$(artefact_dir kubectl)/bin/kubectl" --kubeconfig "$ADMIN_KUBECONFIG" "$@"; }

api_ready() { kubectl_admin get --raw /readyz; }

# control_plane_process NAME COMMAND…: in the background, unless it runs already.
control_plane_process() {
  local name=$1 pid_file=$STATE/control-plane/$1.pid
  shift
  if process_alive "$pid_file"; then return 0; fi
  (
    cgroup_enter control-plane
    exec setsid "$LAB_HOME/lib/supervise" "$STATE/logs/$name.log" \
      nsenter --net="/run/netns/$(netns_name control-plane)" "$@" </dev/null >/dev/null 2>&1
  ) &
  echo $! >"$pid_file"
}

# A process id may have been given to somebody else since: ours is in the control plane's cgroup.
process_alive() {
  [ -e "$1" ] && grep -qx "$(cat "$1")" < <(cgroup_pids control-plane)
}

control_plane_stop_process() {
  local pid_file=$STATE/control-plane/$1.pid pid
  if process_alive "$pid_file"; then
    pid=$(cat "$pid_file")
    kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid"
  fi
  rm -f "$pid_file"
}

control_plane_start() {
  mkdir -p "$STATE/control-plane" "$STATE/logs"
  local bin
  bin=$(artefact_dir kubernetes)/bin
  # Durability of a lab's etcd is worth nothing and costs much.
  control_plane_process etcd "$(artefact_dir etcd)/bin/etcd" --data-dir="$STATE/control-plane/etcd" \
    --unsafe-no-fsync --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380
  # - InternalIP: the nodes' names are in no DNS.
  # - aggregator routing: the API server reaches an extension's pods themselves; it has no ClusterIP of its own to use.
  # - tolerations of 5 s: pods of a dead node are elsewhere in seconds, not in five minutes.
  control_plane_process apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$CONTROL_PLANE_IP" --secure-port=6443 --allow-privileged \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --client-ca-file="$PKI/ca.crt" --token-auth-file="$PKI/tokens.csv" --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction --service-cluster-ip-range="$SERVICE_CIDR" \
    --service-account-issuer="https://kubernetes.default.svc.$CLUSTER_DOMAIN" \
    --service-account-key-file="$PKI/service-account.pub" \
    --service-account-signing-key-file="$PKI/service-account.key" \
    --kubelet-client-certificate="$PKI/apiserver-kubelet.crt" --kubelet-client-key="$PKI/apiserver-kubelet.key" \
    --kubelet-preferred-address-types=InternalIP --enable-aggregator-routing=true \
    --requestheader-client-ca-file="$PKI/front-proxy-ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$PKI/front-proxy.crt" --proxy-client-key-file="$PKI/front-proxy.key" \
    --default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5
  wait_until "$PATIENCE" "the API server (see $STATE/logs/apiserver.log)" api_ready
  controller_manager_start
  control_plane_process scheduler "$bin/kube-scheduler" --kubeconfig="$PKI/scheduler.kubeconfig" --leader-elect=false
}

# The grace period is how long a silent node counts as alive. On a starved machine live nodes are silent for that long, and
# their pods are evicted: LAB_NODE_GRACE (at `up`) gives them more. Thousands of fake nodes renew their leases more slowly
# than real ones, so they come with a longer one.
controller_manager_start() {
  local grace=${LAB_NODE_GRACE:-12s}
  if [ -e "$STATE/fake-nodes" ]; then grace=60s; fi
  control_plane_process controller-manager "$(artefact_dir kubernetes)/bin/kube-controller-manager" \
    --kubeconfig="$PKI/controller-manager.kubeconfig" --use-service-account-credentials --leader-elect=false \
    --service-account-private-key-file="$PKI/service-account.key" --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --allocate-node-cidrs=false --node-monitor-period=1s --node-monitor-grace-period=$grace --node-eviction-rate=10 \
    --horizontal-pod-autoscaler-sync-period=5s
}

# kube-proxy wants to be some node's; n1's will do, since the rules for ClusterIPs are the same everywhere.
control_plane_proxy_start() {
  proxy_config n1 127.0.0.1 >"$STATE/control-plane/proxy.yaml"
  control_plane_process proxy "$(artefact_dir kubernetes)/bin/kube-proxy" --config="$STATE/control-plane/proxy.yaml"
}

# proxy_config NODE ADDRESS-OF-ITS-OWN-ENDPOINTS
proxy_config() {
  cat <<EOF
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $POD_NET.0.0/16
hostnameOverride: $1
healthzBindAddress: "$2:10256"
metricsBindAddress: "$2:10249"
clientConnection: {kubeconfig: "$PKI/proxy.kubeconfig"}
conntrack: {maxPerCore: 0, min: 0} # no right to set the machine's table size
iptables: {minSyncPeriod: 100ms}
EOF
}
