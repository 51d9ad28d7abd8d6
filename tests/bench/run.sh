#!/usr/bin/env bash
# Runs the benches: every tests/bench/[0-9]*.sh, or those named.
#
#   tests/bench/run.sh [NAME...]
#
# A bench finds in its environment
#
#   NIXSTATIC   the program under test
#   PAIR        tests/bench/pair, which times two commands against each other
#   CLOSURE     a store root: one path per Debian package
#   SYNTHETIC   a store root: 50,000 small paths
#   WORK        an empty folder of its own, removed afterwards
#
# and nix_of from tests/env.sh for the Nix to compare with. It prints what it
# measured; nothing here judges it.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ../env.sh
export -f nix_of

benches=("${@/%/.sh}")
[ $# -gt 0 ] || benches=([0-9]*.sh)
[ -e "${benches[0]}" ] || { echo "bench: error: no bench ${benches[0]}" >&2; exit 1; }

top=$(mktemp -d "${TMPDIR:-/tmp}/nixstatic-bench-XXXXXX")
# Stores leave read-only directories.
trap 'chmod -R u+w "$top"; rm -rf "$top"' EXIT
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$top/bin/" ../../cmd/nixstatic ./pair
export NIXSTATIC=$top/bin/nixstatic PAIR=$top/bin/pair
export CLOSURE=$NIXSTATIC_TEST_CACHE/closure SYNTHETIC=$NIXSTATIC_TEST_CACHE/synthetic-50000
export NIX_REMOTE=
# Each bench has a home of its own, and go is not to fetch everything anew for it.
GOPATH=$(go env GOPATH) GOCACHE=$(go env GOCACHE)
export GOPATH GOCACHE

printf '# %s, %s cores, %s\n' "$(uname -srm)" "$(nproc)" "$(go version | cut -d' ' -f3)"
for bench in "${benches[@]}"; do
	export WORK=$top/$bench.work HOME=$top/$bench.home
	mkdir -p "$WORK" "$HOME"
	printf '\n## %s\n' "${bench%.sh}"
	bash -euo pipefail "$bench"
	chmod -R u+w "$WORK"
	rm -rf "$WORK"
done
