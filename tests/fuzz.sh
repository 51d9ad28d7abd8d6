#!/usr/bin/env bash
# Runs every fuzz target of the packages for a while each:
#
#   tests/fuzz.sh TIME [PACKAGE...]     e.g. 10s ./layout/...
#
# go test fuzzes one target of one package at a time. What it finds it leaves in
# that package's testdata/fuzz, where every later `go test` tries it again.
set -euo pipefail
cd "$(dirname "$0")/.."

time=${1:?usage: fuzz.sh TIME [PACKAGE...]}
shift
[ $# -gt 0 ] || set -- ./...

failed=0 found=0
packages=$(go list "$@")
for package in $packages; do
	listed=$(go test -tags real -list '^Fuzz' "$package")
	for target in $(grep '^Fuzz' <<<"$listed" || true); do
		found=$((found + 1))
		printf '== %s %s\n' "$package" "$target"
		go test -tags real -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package" || failed=$((failed + 1))
	done
done
printf 'fuzz: %d targets, %d failed\n' "$found" "$failed"
[ "$found" -gt 0 ] && [ "$failed" -eq 0 ]
