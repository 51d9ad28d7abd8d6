#!/usr/bin/env bash
# The end of a CI job that began with main.sh: sends what is not sent yet.
#
#   NIXSTATIC_DIR            the folder of main.sh; without a queue in it nothing is sent
#   NIXSTATIC_URL            the cache, as readers have it
#   NIXSTATIC_PUSH           true: what is left fails the job
#   NIXSTATIC_PIN            pins to set when all is sent, NAME=PATH, one a line
#   NIXSTATIC_DRAIN_TIMEOUT  how long that may take
set -euo pipefail

dir=${NIXSTATIC_DIR-}
queue=$dir/queue
[ -n "$dir" ] && [ -d "$dir" ] || exit 0
[ ! -d "$dir/program" ] || PATH=$dir/program/bin:$PATH

# A runner that goes on for other jobs has nothing left of this one.
leave() {
	local status=$?
	[ ! -e "$dir/pid" ] || kill "$(cat "$dir/pid")" 2>/dev/null || true
	NIX_USER_CONF_FILES=$dir/nix.conf:${NIX_USER_CONF_FILES-} nixstatic use --remove "${NIXSTATIC_URL-}" >/dev/null 2>&1 || true
	rm -f "$dir/pid" "$dir/token" "$dir/login" "$dir/netrc" "$dir/nix.conf"
	exit "$status"
}
trap leave EXIT
[ -d "$queue" ] || exit 0

drain=(--queue "$queue" "--timeout=${NIXSTATIC_DRAIN_TIMEOUT:-10m}")
[ "${NIXSTATIC_PUSH-}" != true ] || drain+=(--strict)
status=0
nixstatic watch drain "${drain[@]}" || status=$?
[ ! -s "$dir/log" ] || cat "$dir/log"
nixstatic watch status --queue "$queue" || true
[ "$status" = 0 ] || exit "$status"

base=${NIXSTATIC_URL-}
base=${base%%[?#]*}
base=${base%/}
while IFS='=' read -r name path; do
	path=${path%$'\r'}
	[ -n "$name" ] || continue
	pin=("--pin=$name")
	[ ! -e "$dir/login" ] || pin+=(--netrc-file "$dir/login")
	nixstatic push "${pin[@]}" -- "${base%/upload}/upload" "$path" || {
		[ "${NIXSTATIC_PUSH-}" != true ] || exit 1
		printf 'nixstatic: warning: one of the pins is not set\n' >&2
	}
done <<<"${NIXSTATIC_PIN-}"
