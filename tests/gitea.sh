#!/usr/bin/env bash
# Builds the Gitea server whose package registry the tests write to:
#
#   tests/gitea.sh
#
# leaves $NIXSTATIC_TEST_CACHE/gitea-<version>/gitea with the files that it needs, and
# points gitea at that folder. The version is the one that tests/gitea/server/go.mod
# pins. The first build takes minutes, every later run none.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

module=code.gitea.io/gitea
version=$(awk -v m="$module" '$1 == "require" && $2 == m { print $3 }' gitea/server/go.mod)
[ -n "$version" ] || { echo "gitea: error: tests/gitea/server/go.mod does not pin $module" >&2; exit 1; }
into=$NIXSTATIC_TEST_CACHE/gitea-$version
if [ -x "$into/gitea" ]; then
	ln -sfn "gitea-$version" "$NIXSTATIC_TEST_CACHE/gitea"
	exit 0
fi

say() { printf 'gitea: %s\n' "$*"; }
say "building Gitea $version, which takes some minutes"
mkdir -p "$into/static"
# An interrupted build leaves no program that looks whole.
trap 'rm -f "$into/.building.$$"' EXIT
# SQLite is C. Little is gained from optimising it as far as it goes.
(cd gitea/server && CGO_ENABLED=1 CGO_CFLAGS='-O1 -g0' nice -n 19 go build -mod=readonly -trimpath \
	-tags 'sqlite sqlite_unlock_notify' -ldflags '-s -w' -o "$into/.building.$$" "$module")
source=$(cd gitea/server && go list -mod=readonly -m -f '{{.Dir}}' "$module")
for folder in options templates public; do
	rm -rf "${into:?}/static/$folder"
	cp -R "$source/$folder" "$into/static/"
done
chmod -R u+w "$into/static"
mv "$into/.building.$$" "$into/gitea"
ln -sfn "gitea-$version" "$NIXSTATIC_TEST_CACHE/gitea"
say "ready in $into"
