# shellcheck shell=bash
# Debian packages: those that the machine itself must have, and those that are only unpacked, from any suite. The
# mirror and its keys are whatever this machine's apt uses.

# command:package — what the lab calls on the machine itself.
HOST_COMMANDS="ip:iproute2 iptables:iptables nft:nftables conntrack:conntrack mmdebstrap:mmdebstrap runc:runc
  /usr/lib/cni/bridge:containernetworking-plugins unzip:unzip jq:jq openssl:openssl nsenter:util-linux
  sysctl:procps flock:util-linux socat:socat python3:python3 gcc:gcc /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev"

host_packages_missing() {
  local pair
  for pair in $HOST_COMMANDS; do
    command -v "${pair%%:*}" >/dev/null || [ -e "${pair%%:*}" ] || echo "${pair#*:}"
  done | sort -u
}

host_packages_install() {
  [ -z "$(host_packages_missing)" ] || locked host-packages host_packages_get
}

host_packages_get() {
  local missing
  missing=$(host_packages_missing | tr '\n' ' ')
  [ -n "${missing// /}" ] || return 0 # somebody else got them while we waited for the lock
  say "installing Debian packages: $missing"
  apt-get update -qq || say "apt-get update reported errors; trying with what it got"
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    -o Dpkg::Options::=--path-exclude=/usr/share/man/* $missing >/dev/null
}

debian_mirror() {
  awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null | grep . \
    || awk '$1 == "deb" {sub(/\[[^]]*\] */, ""); print $2; exit}' /etc/apt/sources.list
}

# debian_root FOLDER SUITE VARIANT PACKAGES [mmdebstrap options…]: a root file system of that suite, without what no
# image needs. Suites that a machine has no fresh keys or dates for are still signed: only the dates go unchecked.
debian_root() {
  local folder=$1 suite=$2 variant=$3 packages=$4
  shift 4
  mmdebstrap --quiet --mode=root --variant="$variant" --include="$packages" \
    --aptopt='APT::Install-Recommends "0"' \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Check-Date "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    "$@" "$suite" "$folder" "deb $(debian_mirror) $suite main"
  # /dev is the runtime's; the rest is apt's luggage, logs and traces of the building machine.
  rm -rf "${folder:?}"/dev/* "${folder:?}"/var/lib/apt/lists/* "${folder:?}"/var/cache/apt/* "${folder:?}"/var/log/* \
    "${folder:?}"/var/cache/debconf/*-old "${folder:?}"/var/lib/dpkg/*-old \
    "${folder:?}"/etc/resolv.conf "${folder:?}"/etc/hostname "${folder:?}"/etc/apt/sources.list \
    "${folder:?}"/etc/machine-id "${folder:?}"/var/cache/ldconfig/aux-cache
}

# debian_unpack FOLDER SUITE PACKAGES: only the files of these packages, and of what they depend on, with no script run.
debian_unpack() { debian_root "$1" "$2" extract "$3"; }
