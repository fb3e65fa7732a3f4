#!/usr/bin/env bash
# Writes a bill of materials (CycloneDX 1.5, JSON) for each image of the project, and one of a whole hub.
#
# target/sbom/<component>.cdx.json: the crates that are compiled into the program, from Cargo.lock, and the base image
# target/sbom/hub.cdx.json: the images that a hub of this version runs, the data tier's by the versions that the operator
# takes; what is inside of those is told by their own publishers
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

OUT=${SBOM_FOLDER:-$ROOT/target/sbom}
COMPONENTS=(api worker operator flickr-mock)
NAME=flickrhub-sbom

"$ROOT/scripts/install.sh" --sbom

# The line of the base image: name:tag@digest.
base_image() { sed -n 's/^FROM \([^ ]*\) AS base$/\1/p' Dockerfile; }

# image_component NAME TAG DIGEST: a container image as a component; the digest may be empty.
image_component() {
  jq -n --arg name "$1" --arg tag "$2" --arg digest "$3" '
    ($name | split("/")) as $path
    | {
        type: "container", name: $name, version: $tag,
        "bom-ref": "image:\($name):\($tag)",
        purl: ("pkg:oci/" + $path[-1] + (if $digest == "" then "" else "@" + ($digest | @uri) end)
               + "?repository_url=" + ($name | @uri) + "&tag=" + ($tag | @uri))
      }
    + (if $digest == "" then {} else {hashes: [{alg: "SHA-256", content: ($digest | sub("^sha256:"; ""))}]} end)'
}

crates() {
  cargo cyclonedx --quiet --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu \
    --override-filename "$NAME" --all
}

# of_image COMPONENT FOLDER: the crates of a program and the base image in one document about the image.
of_image() {
  local component=$1 folder=$2 base reference name tag
  base=$(base_image)
  reference=${base%@*} name=${reference%:*} tag=${reference##*:}
  jq --slurpfile base <(image_component "$name" "$tag" "${base##*@}") \
    --slurpfile image <(image_component "docker.io/flickrhub/$component" "$VERSION" "") '
    .metadata.component as $program
    | .metadata.component = $image[0]
    | .components = [$program, $base[0]] + .components
    | .dependencies += [{ref: $image[0]["bom-ref"], dependsOn: [$program["bom-ref"], $base[0]["bom-ref"]]}]
    # Where it was built would make two builds differ.
    | walk(if type == "string" then split($root) | join("") else . end)' \
    --arg root "$ROOT" "$folder/$NAME.json" >"$OUT/$component.cdx.json"
}

of_hub() {
  local reference images=()
  for reference in "flickrhub/api:$VERSION" "flickrhub/worker:$VERSION" "flickrhub/operator:$VERSION" \
    $(grep -oE '"(library|openbao)/[a-z]+:[^"]+"' operator/src/validate/mod.rs | tr -d '"' | sort -u); do
    images+=("$(image_component "docker.io/${reference%:*}" "${reference##*:}" "")")
  done
  printf '%s' "${images[@]}" | jq -s --arg version "$VERSION" '{
    bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
    metadata: {component: {type: "application", name: "flickrhub", version: $version, "bom-ref": "flickrhub"}},
    components: .,
    dependencies: [{ref: "flickrhub", dependsOn: [.[]["bom-ref"]]}]
  }' >"$OUT/hub.cdx.json"
}

write() {
  mkdir -p "$OUT"
  crates
  for component in "${COMPONENTS[@]}"; do
    case $component in flickr-mock) of_image "$component" tests/flickr-mock ;; *) of_image "$component" "$component" ;; esac
  done
  find . -name "$NAME.json" -not -path './target/*' -delete
  of_hub
}

step "Bills of materials" write
for file in "$OUT"/*.cdx.json; do
  say "$(jq -r --arg file "${file#"$ROOT/"}" '"\($file): \(.components | length) components"' "$file")"
done
