#!/usr/bin/env bash
# The input for scale:
#
#   tests/synthetic.sh DIR N
#
# makes DIR a store root (`nix --store DIR`, logical store /nix/store) of N small
# paths and a few that gather them; tests/synthetic says what they are like.
# DIR/top names the path whose closure is all of it; DIR/paths lists them all.
# Nothing is signed. A DIR that is complete is left alone.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

dir=$(readlink -m "${1:?usage: synthetic.sh DIR N}")
n=${2:?usage: synthetic.sh DIR N}
version="1 $n" # raise it when the program makes something else
[ "$(cat "$dir/complete" 2>/dev/null)" = "$version" ] && exit 0

say() { printf 'synthetic: %s\n' "$*"; }

nix=$(nix_of bookworm)
mkdir -p "${dir%/*}"
root=$(mktemp -d "$dir.XXXXXX")
chmod 755 "$root"
discard() { chmod -R u+w "$1" && rm -rf "$1"; }
trap 'discard "$root"' EXIT
mkdir -p "$root/nix/store" "$root/home"

say "writing $n paths"
go run ./synthetic "$root/nix/store" "$n" >"$root/registration"
export HOME=$root/home NIX_REMOTE=
"$nix/nix-store" --store "$root" --load-db <"$root/registration"
say "letting Nix check them"
"$nix/nix-store" --store "$root" --verify --check-contents
(cd "$root/nix/store" && ls -d -- *-top-*) | sed 's,^,/nix/store/,' >"$root/top"
"$nix/nix-store" --store "$root" -qR "$(cat "$root/top")" | sort >"$root/paths"
rm -rf "${root:?}/home" "$root/registration"
echo "$version" >"$root/complete"
if [ -e "$dir" ]; then discard "$dir"; fi
mv "$root" "$dir"
trap - EXIT
say "$(wc -l <"$dir/paths") paths in $dir"
