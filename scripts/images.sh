#!/usr/bin/env bash
# Builds the container images of the project and makes them known to the cluster.
#
# In the lab: an OCI archive from the binaries and a Debian base of four packages, without a container engine.
# With KUBE_CONTEXT: by docker or podman from the Dockerfile; pushed when IMAGE_REGISTRY names where to.
. "$(dirname "$0")/environment.sh"

PROFILE=${PROFILE:-dev}
COMPONENTS=(api worker operator flickr-mock)

profile_folder() { if [ "$PROFILE" = dev ]; then echo debug; else echo "$PROFILE"; fi; }

build_binaries() {
  local packages=() component
  for component in "${COMPONENTS[@]}"; do packages+=(-p "flickrhub-$component"); done
  cargo build --locked --profile "$PROFILE" --bins "${packages[@]}"
}

# The data tier that a hub runs on, under the names and with the layout of the official images.
DATA_TIER=(redis mongo rabbitmq openbao)

# lab_image COMPONENT: the archive's path, made anew only when the binary has changed.
lab_image() {
  local component=$1 binary archive root sum
  binary=$CARGO_TARGET_DIR/$(profile_folder)/flickrhub-$component
  sum=$(sha256sum "$binary" "$ROOT/tests/lab/mkimage" | sha256sum | cut -c1-16)
  archive=$FLICKRHUB_CACHE/images/flickrhub-$component-$sum.tar
  if [ ! -f "$archive" ]; then
    mkdir -p "$FLICKRHUB_CACHE/images"
    root=$(mktemp -d)
    mkdir -p "$root/usr/local/bin"
    strip -o "$root/usr/local/bin/flickrhub-$component" "$binary"
    chmod 755 "$root" "$root/usr" "$root/usr/local" "$root/usr/local/bin" "$root/usr/local/bin/flickrhub-$component"
    "$ROOT/tests/lab/mkimage" --ref "docker.io/flickrhub/$component:$VERSION" --out "$archive.partial" \
      --user 65532:65532 --workdir / --entrypoint "/usr/local/bin/flickrhub-$component" \
      "$("$LAB" base-rootfs cc)" "$root" >/dev/null
    rm -rf "$root"
    rm -f "$FLICKRHUB_CACHE/images/flickrhub-$component-"*.tar
    mv "$archive.partial" "$archive"
  fi
  echo "$archive"
}

load_data_tier_into_lab() {
  local archives
  mapfile -t archives < <("$LAB" image "${DATA_TIER[@]}")
  [ "${#archives[@]}" -eq "${#DATA_TIER[@]}" ]
  "$LAB" load-image "${archives[@]}"
}

# Tags stay the same while the code changes, so pods of an image that was loaded anew are replaced.
load_into_lab() {
  local archives=() changed=() component image namespace pod
  local loaded=$FLICKRHUB_CACHE/images/loaded-$LAB_NAME
  for component in "${COMPONENTS[@]}"; do
    archives+=("$(lab_image "$component")")
    grep -qsxF "${archives[-1]}" "$loaded" || changed+=("docker.io/flickrhub/$component:$VERSION")
  done
  "$LAB" load-image "${archives[@]}"
  for image in "${changed[@]}"; do
    kube get pods -A -o json |
      jq -r --arg image "$image" '.items[] | select(any(.spec.containers[]; .image == $image)) | .metadata | "\(.namespace) \(.name)"' |
      while read -r namespace pod; do kube -n "$namespace" delete pod "$pod" --wait=false </dev/null; done
  done
  printf '%s\n' "${archives[@]}" >"$loaded"
  ls -l "${archives[@]}"
}

engine_build() {
  local engine component
  engine=$(command -v docker || command -v podman) || {
    echo "docker or podman is needed to build images for a cluster of your own"
    return 1
  }
  for component in "${COMPONENTS[@]}"; do
    "$engine" build --target "$component" -t "${IMAGE_REGISTRY:-docker.io/flickrhub}/$component:$VERSION" "$ROOT"
    if [ -n "${IMAGE_REGISTRY:-}" ]; then "$engine" push "$IMAGE_REGISTRY/$component:$VERSION"; fi
  done
}

if [ -n "${KUBE_CONTEXT:-}" ]; then
  if [ "${IMAGES:-}" = present ]; then
    say "Images: taken as present in the cluster (IMAGES=present)"
  else
    step "Images by the container engine" engine_build
  fi
else
  step "Building the binaries (profile $PROFILE)" build_binaries
  step "Images of the data tier into the lab" load_data_tier_into_lab
  step "Images of the project into the lab" load_into_lab
fi
