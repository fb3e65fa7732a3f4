# shellcheck shell=bash
# The lab's network: one namespace holds a bridge (the switch), one the control plane, one each node; each of them has
# one cable (a veth pair) into the switch. There is no uplink: nothing in a lab reaches the machine or the world.
#
# Namespaces are entered with nsenter. `ip netns exec` would mount a new /sys and hide the cgroups from the kubelet.

netns_name() { echo "$LAB_NAME-$1"; }
netns_exists() { [ -e "/run/netns/$(netns_name "$1")" ]; }
in_netns() {
  local name=$1
  shift
  nsenter --net="/run/netns/$(netns_name "$name")" "$@"
}

netns_add() {
  netns_exists "$1" || locked netns ip netns add "$(netns_name "$1")"
  ip -n "$(netns_name "$1")" link set lo up
}

switch_create() {
  local switch
  switch=$(netns_name switch)
  if netns_exists switch; then return 0; fi
  netns_add switch
  ip -n "$switch" link add br0 type bridge
  ip -n "$switch" link set br0 up
  # The switch forwards frames; it is no router and no firewall.
  in_netns switch sysctl -qw net.ipv6.conf.all.disable_ipv6=1
  in_netns switch sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
}

# host_plug NAME IP: a namespace with a cable into the switch.
host_plug() {
  local netns switch
  netns=$(netns_name "$1") switch=$(netns_name switch)
  netns_add "$1"
  if ! ip -n "$netns" link show eth0 >/dev/null 2>&1; then
    ip -n "$switch" link add "$1" type veth peer name eth0 netns "$netns"
    ip -n "$switch" link set "$1" master br0 up
    ip -n "$netns" addr add "$2/24" dev eth0
    ip -n "$netns" link set eth0 up
  fi
  in_netns "$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
  # Pods of one node that talk through a Service pass kube-proxy's rules only if the bridge shows them to iptables.
  in_netns "$1" sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
  # A connection to a ClusterIP is routed before kube-proxy's rules rewrite it: without this route there is none.
  ip -n "$netns" route replace "$SERVICE_CIDR" dev eth0
}

# Every host knows the way to every node's pods.
routes_set() {
  local to from
  for to in $(lab_nodes); do
    for from in control-plane $(lab_nodes); do
      [ "$from" = "$to" ] || ip -n "$(netns_name "$from")" route replace "$(node_pod_cidr "$to")" via "$(node_ip "$to")"
    done
  done
}

# A cut cable: the port leaves the bridge, so no frame passes, while the link stays up on the node's side.
cable_cut() { ip -n "$(netns_name switch)" link set "$1" nomaster; }
cable_mend() { ip -n "$(netns_name switch)" link set "$1" master br0 up; }
cable_is_cut() { ! ip -n "$(netns_name switch)" link show "$1" | grep -q 'master br0'; }

# A partition of two: the switch drops what they send each other and nothing else.
pair_cut() {
  in_netns switch nft -f - <<EOF
add table bridge cuts
add chain bridge cuts forward { type filter hook forward priority 0; }
add rule bridge cuts forward iifname "$1" oifname "$2" drop comment "$1-$2"
add rule bridge cuts forward iifname "$2" oifname "$1" drop comment "$1-$2"
EOF
}

pair_mend() {
  local handle
  in_netns switch nft -a list chain bridge cuts forward 2>/dev/null \
    | sed -nE "s/.*comment \"($1-$2|$2-$1)\" # handle ([0-9]+)/\2/p" \
    | while read -r handle; do in_netns switch nft delete rule bridge cuts forward handle "$handle"; done
}

network_remove() {
  local name
  for name in switch control-plane $(lab_nodes); do
    if netns_exists "$name"; then ip netns del "$(netns_name "$name")"; fi
  done
  locked netns netns_folder_remove
}

# The first `ip netns add` of a machine mounts /run/netns; the last lab takes that away again.
netns_folder_remove() {
  [ -z "$(ls -A /run/netns 2>/dev/null)" ] || return 0
  umount /run/netns 2>/dev/null || true
  rmdir /run/netns 2>/dev/null || true
}
