#!/usr/bin/env bash
# Builds the MinIO server that the tests of package s3 talk to:
#
#   tests/minio.sh
#
# leaves $NIXSTATIC_TEST_CACHE/minio-<version>/minio, and points minio at that
# folder. The version is the one that tests/minio/server/go.mod pins: upstream
# publishes no programs any more, only the Go module. The first build takes
# minutes, every later run none.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

module=github.com/minio/minio
version=$(awk -v m="$module" '$1 == m { print $2 } $1 == "require" && $2 == m { print $3 }' minio/server/go.mod)
[ -n "$version" ] || { echo "minio: error: tests/minio/server/go.mod does not pin $module" >&2; exit 1; }
into=$NIXSTATIC_TEST_CACHE/minio-$version
if [ -x "$into/minio" ]; then
	ln -sfn "minio-$version" "$NIXSTATIC_TEST_CACHE/minio"
	exit 0
fi

say() { printf 'minio: %s\n' "$*"; }
say "building MinIO $version, which takes some minutes"
mkdir -p "$into"
# An interrupted build leaves no program that looks whole.
trap 'rm -f "$into/.building.$$"' EXIT
(cd minio/server && CGO_ENABLED=0 nice -n 19 go build -mod=readonly -trimpath \
	-ldflags '-s -w' -o "$into/.building.$$" "$module")
mv "$into/.building.$$" "$into/minio"
ln -sfn "minio-$version" "$NIXSTATIC_TEST_CACHE/minio"
say "ready in $into"
