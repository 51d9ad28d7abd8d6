#!/usr/bin/env bash
# The end of a CI job that began with main.sh: sends what is not sent yet.
#
#   NIXSTATIC_QUEUE          what main.sh has made; empty: nothing is sent
#   NIXSTATIC_DRAIN_TIMEOUT  how long that may take
#   NIXSTATIC_PIN            pins to set then, NAME=PATH, one a line
#   NIXSTATIC_PUSH           true: what is left fails the job
set -euo pipefail

[ -n "${NIXSTATIC_QUEUE-}" ] && [ -d "$NIXSTATIC_QUEUE" ] || exit 0
drain=(--queue "$NIXSTATIC_QUEUE" --timeout "${NIXSTATIC_DRAIN_TIMEOUT:-10m}")
[ "${NIXSTATIC_PUSH-}" != true ] || drain+=(--strict)
log=$(dirname "$NIXSTATIC_QUEUE")/log
status=0
nixstatic watch drain "${drain[@]}" || status=$?
[ ! -s "$log" ] || cat "$log"
nixstatic watch status --queue "$NIXSTATIC_QUEUE" || true
[ "$status" = 0 ] || exit "$status"

while IFS='=' read -r name path; do
	[ -n "$name" ] || continue
	pin=(--pin "$name")
	netrc=$(dirname "$NIXSTATIC_QUEUE")/netrc
	[ ! -e "$netrc" ] || pin+=(--netrc-file "$netrc")
	nixstatic push "${NIXSTATIC_URL:?}/upload" "$path" "${pin[@]}" || {
		[ "${NIXSTATIC_PUSH-}" != true ] || exit 1
		echo "nixstatic: $name is not pinned"
	}
done <<<"${NIXSTATIC_PIN-}"
