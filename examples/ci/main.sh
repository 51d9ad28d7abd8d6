#!/usr/bin/env bash
# The beginning of a CI job: has Nix use a cache, and sends what it builds while it builds.
#
#   NIXSTATIC_URL      the cache, as readers have it
#   NIXSTATIC_PUSH     auto, true or false
#   NIXSTATIC_TOKEN    a token, if the job does not show who it is
#   NIXSTATIC_KEY      its public key, if it is not to be asked
#   NIXSTATIC_ROOT     the root whose generation the paths are
#   NIXSTATIC_EXCLUDE  regular expressions of names that are not sent, one a line
#
# post.sh belongs to the end of the job. A cache that is away fails nothing, unless
# NIXSTATIC_PUSH is true.
set -euo pipefail
umask 077

say() { printf 'nixstatic: %s\n' "$*"; }
die() { printf '::error::nixstatic: %s\n' "$*"; exit 1; }

url=${NIXSTATIC_URL:?} push=${NIXSTATIC_PUSH:-auto}
url=${url%/}
case $push in auto | true | false) ;; *) die "push is $push: choose auto, true or false" ;; esac
dir=${RUNNER_TEMP:-${TMPDIR:-/tmp}}/nixstatic
mkdir -p "$dir"

# The program of the machine, or that of this checkout.
if ! command -v nixstatic >/dev/null; then
	here=$(cd "$(dirname "$0")/../.." && pwd)
	nix --extra-experimental-features 'nix-command flakes' build "path:$here" --out-link "$dir/program"
	PATH=$dir/program/bin:$PATH
	[ -z "${GITHUB_PATH-}" ] || echo "$dir/program/bin" >>"$GITHUB_PATH"
fi

use=(--yes)
[ -z "${NIXSTATIC_KEY-}" ] || use+=(--key "$NIXSTATIC_KEY")
if [ -n "${NIXSTATIC_TOKEN-}" ]; then
	echo "::add-mask::$NIXSTATIC_TOKEN"
	printf '%s\n' "$NIXSTATIC_TOKEN" >"$dir/token"
	use+=(--token-file "$dir/token")
fi
nixstatic use "$url" "${use[@]}" || {
	[ "$push" != true ] || die "the cache $url cannot be used"
	say "the job goes on without the cache $url"
	exit 0
}

# A job of a fork has neither a secret nor an identity: it reads, and sends nothing.
if [ "$push" = false ] || [ "$push" = auto ] && [ -z "${NIXSTATIC_TOKEN-}${ACTIONS_ID_TOKEN_REQUEST_URL-}${NIXSTATIC_ID_TOKEN-}${NIXSTATIC_ID_TOKEN_FILE-}" ]; then
	say "what this job builds is not sent"
	exit 0
fi
queue=$dir/queue
watch=("$url/upload" --queue "$queue")
if [ -n "${NIXSTATIC_TOKEN-}" ]; then
	host=${url#*://}
	host=${host%%/*}
	printf 'machine %s login ci password %s\n' "${host%:*}" "$NIXSTATIC_TOKEN" >"$dir/netrc"
	watch+=(--netrc-file "$dir/netrc")
fi
[ -z "${NIXSTATIC_ROOT-}" ] || watch+=(--root "$NIXSTATIC_ROOT@${GITHUB_RUN_ID:-${CI_PIPELINE_ID:-$(date +%s)}}-${GITHUB_RUN_ATTEMPT:-1}")
while IFS= read -r regex; do
	[ -z "$regex" ] || watch+=(--exclude "$regex")
done <<<"${NIXSTATIC_EXCLUDE-}"

# Nix takes the hook from those whom its daemon trusts. Without it, what was built is found
# in the store at the end.
nixstatic watch "${watch[@]}" --hook --write auto ||
	nixstatic watch "${watch[@]}" --hook >/dev/null
[ -z "${GITHUB_ENV-}" ] || printf "%s\n" "NIXSTATIC_QUEUE=$queue" "NIXSTATIC_URL=$url" >>"$GITHUB_ENV"
nohup nixstatic watch "${watch[@]}" >"$dir/log" 2>&1 </dev/null &
say "what this job builds is sent to $url"
