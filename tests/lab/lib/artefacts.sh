# shellcheck shell=bash
# The cache of everything that is installed or built.
#
# An artefact NAME has a function recipe_NAME that fills the folder it is given. Its place in the cache is
# artefacts/NAME/KEY, where KEY is a hash of the text of that function (versions are literals in it), of the files that
# FILES[NAME] lists, and of the keys of the artefacts that NEEDS[NAME] lists. So whoever changes a version gets a new
# artefact, and nothing is ever stale. A recipe writes into a temporary folder that is renamed when it is whole: an
# interrupted build leaves nothing that looks done. A lock for each artefact lets concurrent callers wait for one build.

declare -A NEEDS=() FILES=()

artefact_key() {
  local name=$1 need file
  {
    declare -f "recipe_$name"
    for file in ${FILES[$name]:-}; do sha256sum <"$LAB_HOME/$file"; done
    for need in ${NEEDS[$name]:-}; do artefact_key "$need"; done
  } | sha256sum | cut -c1-16
}

# The folder where the artefact is, or would be.
artefact_dir() { echo "$CACHE/artefacts/$1/$(artefact_key "$1")"; }

artefact_ready() { [ -d "$(artefact_dir "$1")" ]; }

# artefact_ensure NAME…
artefact_ensure() {
  local name need
  for name in "$@"; do
    declare -F "recipe_$name" >/dev/null || die "no recipe for '$name'"
    if artefact_ready "$name"; then continue; fi
    for need in ${NEEDS[$name]:-}; do artefact_ensure "$need"; done
    locked "artefact-$name" artefact_build "$name"
  done
}

artefact_build() {
  local name=$1 dir tmp
  dir=$(artefact_dir "$name")
  if [ -d "$dir" ]; then return 0; fi # somebody else built it while we waited for the lock
  mkdir -p "$CACHE/artefacts/$name"
  # What an interrupted build left: the lock is ours, so nobody is at work in there.
  rm -rf "$CACHE/artefacts/$name"/.building.*
  tmp=$(mktemp -d "$CACHE/artefacts/$name/.building.XXXXXX")
  say "building $name …"
  # In a shell of its own: `set -e` holds in it, whatever the caller's context.
  timed "built $name" bash -c '
    set -euo pipefail
    . "$LAB_HOME/lib/load.sh"
    cd "$2"
    "recipe_$1" "$2"' build "$name" "$tmp" 2> >(grep -v '^go: downloading' >&2) || { rm -rf "$tmp"; die "building $name failed"; }
  chmod 755 "$tmp"
  mv -T "$tmp" "$dir"
}

# tool_path NAME…: the bin folders of these artefacts, joined for PATH.
tool_path() {
  local name path=
  for name in "$@"; do path+=$(artefact_dir "$name")/bin:; done
  echo "${path%:}"
}
