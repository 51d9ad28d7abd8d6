#!/usr/bin/env bash
# Makes a Debian machine able to run the tests: installs the programs they call
# and fetches the Nix versions they talk to.
#
#   tests/setup.sh            everything `make test` needs
#   tests/setup.sh --bench    also what only the benches need
#
# Needs root or sudo the first time, and the machine's own Debian mirror. What is
# already there is left alone, so a second run takes a moment and no network.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

# program:package, one line per program a test or a bench calls.
programs='
nix:nix-bin
nginx:nginx
apache2:apache2-bin
curl:curl
rclone:rclone
cadaver:cadaver
litmus:litmus
jq:jq
xz:xz-utils
zstd:zstd
bzip2:bzip2
brotli:brotli
strace:strace
gcc:gcc
gpgv:gpgv
flock:util-linux
perl:perl-base
wrk:wrk
litmus:litmus
cadaver:cadaver
rclone:rclone
setpriv:util-linux
ip:iproute2
openssl:openssl
git:git
update-ca-certificates:ca-certificates
gzip:gzip
lz4:lz4
chromium:chromium
restic:restic
caddy:caddy
groff:groff
systemd-analyze:systemd
dpkg:dpkg
openssl:openssl
buildah:buildah
busybox:busybox-static
node:nodejs
buildbot:buildbot
buildbot-worker:buildbot-worker
'

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "cannot run as root: $*"
	fi
}

# nginx and nix-daemon bring services that the tests neither need nor want on
# the developer's ports: while we install, Debian's own switch says no service
# may start. A switch that is already there belongs to somebody else and stays.
policy=/usr/sbin/policy-rc.d
without_services() {
	local status=0
	if [ -e "$policy" ]; then
		as_root "$@"
		return
	fi
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
	trap 'as_root rm -f "$policy"' EXIT
	as_root "$@" || status=$?
	as_root rm -f "$policy"
	trap - EXIT
	return "$status"
}

install_programs() {
	local line missing=()
	for line in $programs; do
		# nginx lives in sbin, which is not on everybody's PATH.
		PATH="$PATH:/usr/sbin:/sbin" command -v "${line%%:*}" >/dev/null || missing+=("${line#*:}")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "this machine has no apt-get: install ${missing[*]} by hand"
	say "installing ${missing[*]}"
	# A third-party source that does not answer must not stop Debian's own.
	as_root apt-get -q update || say "some package sources did not answer"
	without_services env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
		-o DPkg::Lock::Timeout=600 install --no-install-recommends "${missing[@]}"
}

mkdir -p "$NIXSTATIC_TEST_CACHE"
# tests/workflows mounts stores of its own there.
[ -d /nix ] || as_root mkdir /nix
install_programs </dev/null

# Two clones may set up at once; the second waits and finds the work done.
exec 9>"$NIXSTATIC_TEST_CACHE/setup.lock"
flock 9

./nix-from-suite.sh bookworm
./nix-from-suite.sh trixie
./nix-from-suite.sh sid
./minio.sh
./gitea.sh
./act.sh
# The packages of a release are made by a module of its own, see cmd/nixstatic/release/build.sh.
(cd ../cmd/nixstatic/release && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOAMD64=v1 GOARM64=v8.0 go tool nfpm --version >/dev/null)
./closure.sh "$NIXSTATIC_TEST_CACHE/closure"
if [ "${1-}" = --bench ]; then
	./synthetic.sh "$NIXSTATIC_TEST_CACHE/synthetic-50000" 50000
fi
say "ready in $NIXSTATIC_TEST_CACHE"
