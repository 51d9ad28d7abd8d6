#!/usr/bin/env bash
# Makes what a release consists of, and SHA256SUMS of it:
#
#   cmd/nixstatic/release/build.sh FOLDER PLATFORM…      such as bin/release linux/amd64 darwin/arm64
#
# The same commit and the same Go make the same bytes, on every Linux machine with GNU tar:
# nothing of the machine, the folder, the user or the clock gets into them. VERSION and
# SOURCE_DATE_EPOCH come from the commit where they are not given.
set -euo pipefail
umask 022
[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }

mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../../.."
if [ -z "${VERSION-}" ] || [ -z "${SOURCE_DATE_EPOCH-}" ]; then
	found=$(cmd/nixstatic/release/version.sh)
	: "${VERSION:=${found% *}}" "${SOURCE_DATE_EPOCH:=${found#* }}"
fi
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
# Settings of the machine would show in the program.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0
unset TAR_OPTIONS GZIP

say() { printf 'release: %s\n' "$*"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# program PLATFORM FILE
program() {
	GOOS=${1%/*} GOARCH=${1#*/} go build -buildvcs=false -trimpath \
		-ldflags "-s -w -buildid= -X main.release=$VERSION" -o "$2" ./cmd/nixstatic
}

# Manual pages and completions are the program's own words, so one that runs here writes them.
say "nixstatic $VERSION"
host=$(go env GOHOSTOS)/$(go env GOHOSTARCH)
program "$host" "$work/host"

# archive PLATFORM: a folder that can be unpacked over /usr/local.
archive() {
	local name=nixstatic-${VERSION#v}-${1%/*}-${1#*/}
	local root=$work/$name doc=$work/$name/share/doc/nixstatic
	say "$name.tar.gz"
	make -s install-files BIN="$work/host" DESTDIR="$root" PREFIX=
	[ "$1" = "$host" ] || program "$1" "$root/bin/nixstatic"
	mkdir -p "$doc"
	cp -r LICENSE README.md CHANGELOG.md CONTRIBUTING.md docs examples "$doc"
	[ "${1%/*}" != linux ] || package "${1#*/}" "$root"
	tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
		--mode='u=rwX,go=rX' -C "$work" -c "$name" | gzip -n >"$out/$name.tar.gz"
}

# package ARCH FOLDER: the Debian package of what the archive has.
package() {
	local root=$work/deb units=$work/deb/usr/lib/systemd/system doc=$work/deb/usr/share/doc/nixstatic
	local version
	version=$(sed -E 's/^v//; s/-dirty$/+dirty/; s/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/; s/-/~/; s/-/./g' <<<"$VERSION")
	say "nixstatic_${VERSION#v}_$1.deb"
	rm -rf "$root"
	mkdir -p "$units"
	cp -r "$2/." "$root/usr"
	mv "$root/usr/share/zsh/site-functions" "$root/usr/share/zsh/vendor-completions"
	gzip -9n "$root"/usr/share/man/man1/*.1
	cat cmd/nixstatic/release/debian/copyright <(sed 's/^$/./; s/^/ /' LICENSE) >"$doc/copyright"
	rm "$doc/LICENSE"
	(
		cd examples/systemd
		for unit in *.service *.socket *.timer; do
			sed 's|/usr/local/bin/|/usr/bin/|' "$unit" >"$units/$unit"
		done
		sed 's|/usr/local/bin/|/usr/bin/|' nixstatic-hook >"$root/post-build-hook"
	)
	chmod -R u=rwX,go=rX "$root"
	find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	(cd cmd/nixstatic/release && ROOT=$root ARCH=$1 DEB_VERSION=$version go tool nfpm package --config nfpm.yaml --packager deb \
		--target "$out/nixstatic_${VERSION#v}_$1.deb" >/dev/null)
}

rm -f "$out"/nixstatic[-_]*.{tar.gz,deb} "$out/SHA256SUMS"
for platform; do
	archive "$platform"
done
(cd "$out" && sha256sum nixstatic[-_]* >SHA256SUMS)
say "ready in $out"
