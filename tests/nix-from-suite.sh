#!/usr/bin/env bash
# Brings the Nix of one Debian suite next to the machine's own:
#
#   tests/nix-from-suite.sh SUITE       e.g. trixie, sid
#
# leaves $NIXSTATIC_TEST_CACHE/nix-<version>/bin/{nix,nix-store,nix-daemon,...}
# and points suites/SUITE at it. The packages and all libraries they depend on
# come through apt, verified by apt, with a configuration of its own: neither
# the machine's package sources nor its dpkg database change. The programs run
# under the dynamic loader they came with, so no chroot and no namespaces.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

suite=${1:?usage: nix-from-suite.sh SUITE}
cache=$NIXSTATIC_TEST_CACHE
[ -x "$cache/suites/$suite/bin/nix" ] && exit 0

say() { printf 'nix-from-suite: %s\n' "$*"; }
die() { printf 'nix-from-suite: error: %s\n' "$*" >&2; exit 1; }

mkdir -p "$cache/suites"
work=$(mktemp -d "$cache/.unpack-XXXXXX")
trap 'rm -rf "$work"' EXIT

# mirror prints the address this machine gets Debian from.
mirror() {
	local uri
	# Origin is known once the package lists were fetched; a machine without
	# them still knows its sources.
	uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
		sed -n 's/^Debian Debian //p' | sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }')
	[ -n "$uri" ] || uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
		sed -n '/\/debian\/*$/p' | head -n 1)
	[ -n "$uri" ] || die "cannot tell the Debian mirror from this machine's package sources"
	printf '%s\n' "$uri"
}

# apt_for SUITE KEYRING makes $work/SUITE an apt world that knows that suite alone.
# It keeps how this machine reaches its mirror (proxies, time-outs) and nothing
# else: no hooks, no pins, no installed packages.
apt_for() {
	local dir=$work/$1 keyring=$2 from
	from=$(mirror)
	mkdir -p "$dir"/{lists/partial,archives/partial,empty}
	: >"$dir/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$from" "$1" >"$dir/sources.list"
	{
		apt-config dump --format '%F "%v";%n' Acquire | grep -v '^Acquire::IndexTargets::' || true
		cat <<-CONF
			Acquire::Languages "none";
			APT::Architecture "$(dpkg --print-architecture)";
			APT::Architectures { "$(dpkg --print-architecture)"; };
			APT::Install-Recommends "false";
			APT::Get::Assume-Yes "true";
			APT::Sandbox::User "$(id -un)";
			Dir::Etc::main "$dir/empty/none";
			Dir::Etc::parts "$dir/empty";
			Dir::Etc::sourcelist "$dir/sources.list";
			Dir::Etc::sourceparts "$dir/empty";
			Dir::Etc::preferences "$dir/empty/none";
			Dir::Etc::preferencesparts "$dir/empty";
			Dir::Etc::trusted "$dir/empty/none";
			Dir::Etc::trustedparts "$dir/empty";
			Dir::State "$dir";
			Dir::State::lists "$dir/lists";
			Dir::State::status "$dir/status";
			Dir::Cache "$dir";
			Dir::Cache::archives "$dir/archives";
			Dir::Log "$dir";
		CONF
	} >"$dir/apt.conf"
	APT_CONFIG=$dir/apt.conf apt-get -qq update
}

# The machine's keyring may be older than the keys that sign a later suite, so
# take the keyring of the next release, which the machine's keys do vouch for.
newer_keyring() {
	local own=/usr/share/keyrings/debian-archive-keyring.gpg
	[ -e "$own" ] || die "no $own: install debian-archive-keyring"
	apt_for trixie "$own"
	(cd "$work/trixie" && APT_CONFIG=$work/trixie/apt.conf apt-get -qq download debian-archive-keyring)
	dpkg-deb -x "$work"/trixie/debian-archive-keyring_*.deb "$work/keyring"
	printf '%s\n' "$work/keyring/usr/share/keyrings/debian-archive-keyring.gpg"
}

# host_nix makes the folder for a Nix that is installed on the machine.
host_nix() {
	mkdir -p "$work/nix/bin"
	local name
	for name in nix $(cd /usr/bin && ls -d nix-*); do
		[ -x "/usr/bin/$name" ] && wrapper "$name" "exec /usr/bin/$name \"\$@\""
	done
}

# unpacked_nix fetches and unpacks a Nix that is not.
unpacked_nix() {
	local deb name root=$work/nix/root loader libs keyring
	say "fetching Nix from Debian $suite"
	keyring=$(newer_keyring)
	[ "$suite" = trixie ] || apt_for "$suite" "$keyring"
	APT_CONFIG=$work/$suite/apt.conf apt-get -qq --download-only install nix-bin >"$work/log" 2>&1 ||
		{ cat "$work/log" >&2; die "cannot fetch nix-bin from Debian $suite"; }
	# The symlinks of a merged /usr come from no package.
	mkdir -p "$root"/usr/{bin,lib,lib64,sbin}
	ln -s usr/bin usr/lib usr/lib64 usr/sbin "$root"
	for deb in "$work/$suite"/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -x --no-same-owner --keep-directory-symlink
	done
	loader=$(cd "$root" && find usr/lib usr/lib64 lib lib64 -name 'ld-linux*.so.*' -print -quit 2>/dev/null)
	[ -n "$loader" ] || die "no dynamic loader among the packages of $suite"
	libs=$(cd "$root" && find usr/lib -name 'libc.so.6' -printf '%h\n' -quit)
	[ -n "$libs" ] || die "no C library among the packages of $suite"
	# Documents and locales are two thirds of the size and no test reads them.
	rm -rf "${root:?}"/usr/share/{doc,man,locale,info,i18n} "${root:?}/var" "$root/etc"
	mkdir -p "$work/nix/bin"
	for name in $(cd "$root/usr/bin" && ls -d nix nix-*); do
		wrapper "$name" "NIX_BIN_DIR=\$here/bin exec \"\$here/root/$loader\" --argv0 $name \\
	--library-path \"\$here/root/$libs\" \"\$here/root/usr/bin/$name\" \"\$@\""
	done
}

# wrapper NAME COMMAND writes one program. It ignores the configuration of the
# machine and of the user: a test must mean the same everywhere.
wrapper() {
	cat >"$work/nix/bin/$1" <<-SH
		#!/bin/sh
		here=\$(cd "\${0%/*}/.." && pwd) || exit
		export NIX_CONF_DIR="\${NIX_CONF_DIR-\$here/etc}" NIX_USER_CONF_FILES="\${NIX_USER_CONF_FILES-}"
		$2
	SH
	chmod 755 "$work/nix/bin/$1"
}

# No substituters: a test that reaches the network by accident must fail.
configuration() {
	mkdir -p "$work/nix/etc"
	cat >"$work/nix/etc/nix.conf" <<-'CONF'
		experimental-features = nix-command flakes ca-derivations
		substituters =
		build-users-group =
		sandbox = false
	CONF
	# The hook would be the program's own name, which under a loader is the
	# loader's; 2.8 takes an empty name for a program.
	[ ! -d "$work/nix/root" ] || echo 'build-hook =' >>"$work/nix/etc/nix.conf"
}

if [ "$suite" = "$(. /etc/os-release && echo "${VERSION_CODENAME-}")" ]; then
	host_nix
else
	unpacked_nix
fi
configuration
version=$("$work/nix/bin/nix" --version | sed -n 's/^nix (Nix) //p')
[ -n "$version" ] || die "the Nix of Debian $suite does not run"
rm -rf "$cache/nix-$version"
mv "$work/nix" "$cache/nix-$version"
ln -sfn "../nix-$version" "$cache/suites/$suite"
say "Nix $version from Debian $suite"
