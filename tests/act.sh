#!/usr/bin/env bash
# Builds act, which runs jobs of GitHub Actions on this machine:
#
#   tests/act.sh
#
# leaves $NIXSTATIC_TEST_CACHE/act-<version>/act, and points act at that folder. The
# version is the one that tests/act/go.mod pins. The first build takes a minute, every
# later run none.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

module=github.com/nektos/act
version=$(awk -v m="$module" '$1 == m { print $2 } $1 == "require" && $2 == m { print $3 }' act/go.mod)
[ -n "$version" ] || { echo "act: error: tests/act/go.mod does not pin $module" >&2; exit 1; }
into=$NIXSTATIC_TEST_CACHE/act-$version
if [ -x "$into/act" ]; then
	ln -sfn "act-$version" "$NIXSTATIC_TEST_CACHE/act"
	exit 0
fi

say() { printf 'act: %s\n' "$*"; }
say "building act $version, which takes a minute"
mkdir -p "$into"
# An interrupted build leaves no program that looks whole.
trap 'rm -f "$into/.building.$$"' EXIT
(cd act && CGO_ENABLED=0 nice -n 19 go build -mod=readonly -trimpath \
	-ldflags '-s -w' -o "$into/.building.$$" "$module")
mv "$into/.building.$$" "$into/act"
ln -sfn "act-$version" "$NIXSTATIC_TEST_CACHE/act"
say "ready in $into"
