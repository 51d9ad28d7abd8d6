#!/usr/bin/env bash
# Runs every fuzz target of the packages for a while each, and says how many tries
# each made, how many of them in a second of processor time, which another load of the
# machine does not change, and how many inputs it found that reach code which none
# before did:
#
#   tests/fuzz.sh TIME [PACKAGE...]     e.g. 10s ./layout/...
#
# A target can be fuzzed only alone. What makes a target fail it
# leaves in that package's testdata/fuzz, where every later `go test` tries it
# again; what is merely interesting it keeps in $(go env GOCACHE)/fuzz, and starts
# from there the next time. It is told not to make those smaller: by default it
# spends a minute on each, which is all the time that there is.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?usage: fuzz.sh TIME [PACKAGE...]}
shift
modules=(.)
[ $# -gt 0 ] || { set -- ./...; modules=(. tests/browser); }

failed=0 found=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
log=$dir/log corpora=$(go env GOCACHE)/fuzz
TIMEFORMAT='%U %S'
packages=$(for module in "${modules[@]}"; do (cd "$module" && go list -f '{{.ImportPath}} {{.Dir}}' "$@"); done)
while read -r package folder; do
	grep -qs '^func Fuzz' "$folder"/*_test.go || continue
	# Built once, with the counters by which go test finds out what an input reaches.
	(cd "$folder" && go test -c -fuzz . -o "$dir/fuzz" .)
	for target in $("$dir/fuzz" -test.list '^Fuzz'); do
		found=$((found + 1))
		outcome=ok
		{ time (
			cd "$folder" && "$dir/fuzz" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" -test.fuzzminimizetime 10x \
				-test.fuzzcachedir "$corpora/$package" >"$log" 2>&1 </dev/null
		); } 2>"$dir/used" || { outcome=FAILED failed=$((failed + 1)) && cat "$log"; }
		# "fuzz: elapsed: 10s, execs: 86309 (6716/sec), new interesting: 210 (total: 216)"
		awk -v name="${package#*/nixstatic/nixstatic/} $target" -v outcome="$outcome" -v used="$(tail -n 1 "$dir/used")" '
			/^fuzz: elapsed: .* execs: / {
				tries = $5
				gained = $9; total = $11; sub(/\)/, "", total)
			}
			END {
				split(used, part, " "); seconds = part[1] + part[2]
				printf "%-48s %9d tries, %6d a second of processor time, %5d new of %5d inputs  %s\n", name, tries, (seconds > 0 ? tries / seconds : 0), gained, total, outcome
			}' "$log"
	done
done <<<"$packages"
printf 'fuzz: %d targets, %d failed\n' "$found" "$failed"
[ "$found" -gt 0 ] && [ "$failed" -eq 0 ]
