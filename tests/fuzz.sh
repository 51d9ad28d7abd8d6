#!/usr/bin/env bash
# Runs every fuzz target of the packages for a while each, and says how many tries
# each made and how many inputs it found that reach code which none before did:
#
#   tests/fuzz.sh TIME [PACKAGE...]     e.g. 10s ./layout/...
#
# go test fuzzes one target of one package at a time. What makes a target fail it
# leaves in that package's testdata/fuzz, where every later `go test` tries it
# again; what is merely interesting it keeps in $(go env GOCACHE)/fuzz, and starts
# from there the next time. It is told not to make those smaller: by default it
# spends a minute on each, which is all the time that there is.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?usage: fuzz.sh TIME [PACKAGE...]}
shift
[ $# -gt 0 ] || set -- ./...

failed=0 found=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
packages=$(go list "$@")
for package in $packages; do
	listed=$(go test -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		found=$((found + 1))
		outcome=ok
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$package" >"$log" 2>&1 ||
			{ outcome=FAILED failed=$((failed + 1)) && cat "$log"; }
		# "fuzz: elapsed: 10s, execs: 86309 (6716/sec), new interesting: 210 (total: 216)"
		awk -v name="${package#*/nixstatic/nixstatic/} $target" -v outcome="$outcome" '
			/^fuzz: elapsed: .* execs: / {
				seconds = $3; sub(/s,/, "", seconds)
				if (split(seconds, minutes, "m") > 1) seconds = 60 * minutes[1] + minutes[2]
				tries = $5
				gained = $9; total = $11; sub(/\)/, "", total)
			}
			END {
				printf "%-48s %9d tries, %6d a second, %5d new of %5d inputs  %s\n", name, tries, (seconds + 0 > 0 ? tries / seconds : 0), gained, total, outcome
			}' "$log"
	done
done
printf 'fuzz: %d targets, %d failed\n' "$found" "$failed"
[ "$found" -gt 0 ] && [ "$failed" -eq 0 ]
