#!/usr/bin/env bash
# Every image that is named in the sources is named by digest, or is an exception with a reason: base images in Dockerfiles,
# images of the data tier that the operator takes by default, images in manifests. Needs no network.
#
# scripts/digests.exceptions has a line for each exception: the image without its tag, then the reason.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

EXCEPTIONS=scripts/digests.exceptions
failed=0

complain() {
  echo "$1" >&2
  failed=1
}

# base_images FILE: what FROM names, but for stages of the same file.
base_images() {
  awk 'toupper($1) == "FROM" {
    image = $2
    if (image ~ /^--/) image = $3
    if (!(image in stages) && image != "scratch") print image
    for (i = 2; i < NF; i++) if (toupper($i) == "AS") stages[$(i + 1)] = 1
  }' "$1"
}

# Each image with the file that names it.
images() {
  local file
  git ls-files | grep -E '(^|/)Dockerfile[^/]*$' | while read -r file; do
    base_images "$file" | sed "s|^|$file |"
  done
  grep -oE '"(library|openbao)/[a-z]+:[^"]+"' operator/src/validate/mod.rs | tr -d '"' |
    sed 's|^|operator/src/validate/mod.rs |'
  git ls-files 'manifests/*.yaml' | while read -r file; do
    sed -nE "s|^ *(- )?image: *[\"']?([^\"' ]+).*|$file \2|p" "$file"
  done
}

# without_tag IMAGE: registry and repository alone.
without_tag() { sed -E 's|@.*$||; s|:[^/]*$||' <<<"$1"; }

seen=$(images)
[ "$(grep -c 'Dockerfile' <<<"$seen")" -ge 2 ] || complain "no base images were found: the check does not look where they are"
[ "$(grep -c 'operator/src' <<<"$seen")" -ge 4 ] || complain "no images of the data tier were found: the check does not look where they are"
while read -r file image; do
  [[ $image =~ @sha256:[0-9a-f]{64}$ ]] && continue
  grep -qE "^$(without_tag "$image" | sed 's/[.]/\\./g') +[^ ]" "$EXCEPTIONS" ||
    complain "$file: $image has no digest; add one (@sha256:…), or a line with a reason to $EXCEPTIONS"
done <<<"$seen"
while read -r image _; do
  [[ -z $image || $image == \#* ]] && continue
  without_digest=$(grep -v '@sha256:' <<<"$seen" | while read -r _ found; do without_tag "$found"; done)
  grep -qxF "$image" <<<"$without_digest" || complain "$EXCEPTIONS: $image needs no exception any more"
done <"$EXCEPTIONS"
exit "$failed"
