#!/usr/bin/env bash
# Checks Cargo.lock against the advisories of RustSec (cargo deny).
#
# `advisories.sh`           fetches the database, or brings it up to date, and checks
# `advisories.sh --offline` checks against the database that is there; says so where there is none
#
# FLICKRHUB_ADVISORY_DB  a copy of the database to take instead: a git repository, by path or address. For machines that
#                        reach the registries and not the database itself: mirror it beside them.
. "$(dirname "$0")/environment.sh"
cd "$ROOT"

SOURCE=https://github.com/RustSec/advisory-db

if [ -n "${FLICKRHUB_ADVISORY_DB:-}" ]; then
  # cargo deny takes addresses only; git takes the copy for the address.
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=url.$FLICKRHUB_ADVISORY_DB.insteadOf GIT_CONFIG_VALUE_0=$SOURCE
fi

# cargo deny names a database after a hash of its address.
database() { find "$FLICKRHUB_ADVISORIES" -mindepth 1 -maxdepth 1 -type d -name 'advisory-db-*' 2>/dev/null | head -1; }

check() { cargo deny "$@" check advisories; }

# Without the network it is a step of lint.sh, which has installed what is needed.
[ "${1:-}" = --offline ] || "$ROOT/scripts/install.sh" --lint
if [ "${1:-}" != --offline ] || [ -n "${FLICKRHUB_ADVISORY_DB:-}" ]; then
  step "cargo deny (advisories)" check
elif [ -n "$(database)" ]; then
  say "Advisories as of $(git -C "$(database)" log -1 --format=%cs)"
  step "cargo deny (advisories, offline)" check --offline
else
  say "Advisories were NOT checked: there is no database. \`make advisories\` fetches it, or takes the copy that FLICKRHUB_ADVISORY_DB names"
fi
