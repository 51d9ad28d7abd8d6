# shellcheck shell=bash
# Where the testing ground keeps what it fetched and built. Source this file;
# setup.sh fills the folder, tests and benches only read it.
#
#   NIXSTATIC_TEST_CACHE   the folder; outside the checkout by default, so that
#                          every clone on a machine shares one.
#
#   $NIXSTATIC_TEST_CACHE/
#     suites/<debian suite>   symlink to the Nix that suite ships
#     nix-<version>/bin/      nix, nix-store, nix-daemon, ... of that version
#     closure/                a store root: one path per Debian package
#     synthetic-<n>/          a store root: n small paths
#
# tests/peers finds the same things for Go.

: "${NIXSTATIC_TEST_CACHE:=${XDG_CACHE_HOME:-${HOME:?}/.cache}/nixstatic-tests}"
export NIXSTATIC_TEST_CACHE

# nix_of SUITE prints the folder holding the programs of that suite's Nix.
nix_of() {
	local bin="$NIXSTATIC_TEST_CACHE/suites/$1/bin"
	if [ ! -x "$bin/nix" ]; then
		echo "no Nix from Debian $1 under $NIXSTATIC_TEST_CACHE: run make test" >&2
		return 1
	fi
	printf '%s\n' "$bin"
}
