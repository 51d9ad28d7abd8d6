#!/usr/bin/env bash
# The real input of tests and benches:
#
#   tests/closure.sh DIR
#
# makes DIR a store root (`nix --store DIR`, logical store /nix/store) holding one
# store path per Debian package of this machine, about 160 of them, with the
# references its dependencies give it. tests/closure chooses and orders them.
# Beside the packages it holds what a cache must also cope with:
#
#   - content-addressed paths of every kind: recursive, flat, text, derivations
#   - a path with separate debug files, one whose name needs escaping in a URL
#   - build logs, plain and compressed, for some of the derivers
#   - paths without a deriver, paths that refer to themselves
#
# DIR/top names the path whose closure is all of it; DIR/paths lists them all.
# Nothing is signed. A DIR that is complete is left alone.
set -euo pipefail
umask 022
cd "$(dirname "$0")"
. ./env.sh

dir=$(readlink -m "${1:?usage: closure.sh DIR}")
version=1 # raise it when this script makes something else
[ "$(cat "$dir/complete" 2>/dev/null)" = "$version" ] && exit 0

say() { printf 'closure: %s\n' "$*"; }

nix=$(nix_of bookworm)
mkdir -p "${dir%/*}"
root=$(mktemp -d "$dir.XXXXXX")
chmod 755 "$root"
discard() { chmod -R u+w "$1" && rm -rf "$1"; }
trap 'discard "$root"' EXIT
store=$root/nix/store
logs=$root/nix/var/log/nix/drvs
registration=$root/registration
mkdir -p "$store" "$logs"

# hashed TEXT NAME prints the base name of an input-addressed path: 160 bits that
# stand for how it was made, then its name.
hashed() {
	printf '%s-%s\n' "$("$nix/nix-hash" --type sha1 --to-base32 \
		"$(printf '%s' "$1" | sha1sum | cut -d' ' -f1)")" "$2"
}

# register NAME DERIVER REFERENCE... gives a finished directory the modes and
# times of a store path and notes it, in the format of nix-store --load-db.
register() {
	local path=$store/$1 name=$1 deriver=$2 size hash ref
	shift 2
	find "$path" \( -type d -o -type f -perm /111 \) -exec chmod 555 {} +
	find "$path" -type f ! -perm /111 -exec chmod 444 {} +
	find "$path" -exec touch -h -d @1 {} +
	"$nix/nix-store" --dump "$path" >"$root/nar"
	hash=$(sha256sum <"$root/nar" | cut -d' ' -f1)
	size=$(stat -c %s "$root/nar")
	{
		printf '/nix/store/%s\n%s\n%s\n' "$name" "$hash" "$size"
		if [ "$deriver" = - ]; then echo; else printf '/nix/store/%s\n' "$deriver"; fi
		echo $#
		for ref; do printf '/nix/store/%s\n' "$ref"; done
	} >>"$registration"
}

# references_file is where nixpkgs keeps them too; it makes each reference one
# that a scan of the contents finds.
references_file() {
	local out=$1/nix-support
	shift
	[ $# -gt 0 ] || return 0
	mkdir -p "$out"
	printf '/nix/store/%s\n' "$@" >"$out/propagated-build-inputs"
}

# files_of PACKAGE lists its files that are really there, relative to /. Images
# of machines leave documents out; diversions are messages, not files; and on a
# merged /usr the top directories themselves are symlinks.
files_of() {
	local file
	dpkg-query -L "$1" | sort -u | while IFS= read -r file; do
		case $file in
		/bin | /lib | /lib32 | /lib64 | /libx32 | /sbin) ;;
		/*)
			if [ -L "$file" ] || { [ -f "$file" ] && [ -r "$file" ]; }; then
				printf '%s\n' "${file#/}"
			fi
			;;
		esac
	done
}

# log DERIVER plain|bz2 writes a build log where `nix log` looks for it.
log() {
	local file=$logs/${1:0:2}/${1:2}
	mkdir -p "${file%/*}"
	{
		printf 'unpacking sources\nconfiguring\nbuilding\n'
		cat
		printf 'fixing up %s\n' "$1"
	} | if [ "$2" = bz2 ]; then bzip2 -c >"$file.bz2"; else cat >"$file"; fi
}

say "choosing packages"
dpkg-query -W -f '${db:Status-Abbrev}|${binary:Package}|${Package}|${Version}|${Architecture}|${Installed-Size}|${Provides}|${Pre-Depends}||${Depends}\n' |
	go run ./closure >"$root/plan"
say "copying $(wc -l <"$root/plan") packages"
n=0
while IFS=$'\t' read -r package name deriver refs; do
	mkdir "$store/$name"
	files_of "$package" >"$root/files"
	# The path of a package is laid out as one of Nix is: bin, not usr/bin.
	tar -C / --no-recursion --hard-dereference --transform 's,^usr/,,S' \
		--verbatim-files-from -T "$root/files" -c | tar -C "$store/$name" --no-same-owner -x
	# shellcheck disable=SC2086 # names hold no blanks
	references_file "$store/$name" $refs
	# shellcheck disable=SC2086
	register "$name" "$deriver" $refs
	n=$((n + 1))
	if [ "$deriver" != - ]; then
		case $n in
		*[05]) log "$deriver" bz2 <"$root/files" ;;
		*3) log "$deriver" plain <"$root/files" ;;
		esac
	fi
done <"$root/plan"

say "adding paths of other kinds"
export HOME=$root/home NIX_REMOTE=
mkdir "$HOME"

# Debug files of one output, as separateDebugInfo leaves them, beside names that
# only look like them.
deriver=$(hashed 'debug derivation' hello-2.10.drv)
name=$(hashed 'debug output' hello-2.10-debug)
ids=$store/$name/lib/debug/.build-id
mkdir -p "$ids/ab" "$ids/0f" "$ids/AB"
cp "$nix/../etc/nix.conf" "$ids/ab/cdef0123456789abcdef0123456789abcdef01.debug"
cp "$(readlink -f /bin/sh)" "$ids/0f/00112233445566778899aabbccddeeff001122.debug"
echo 'too short' >"$ids/ab/cdef.debug"
echo 'not in lower case' >"$ids/AB/CDEF0123456789ABCDEF0123456789ABCDEF01.debug"
ln -s ../ab/cdef0123456789abcdef0123456789abcdef01.debug "$ids/0f/ffffffffffffffffffffffffffffffffffffff.debug"
register "$name" "$deriver"
log "$deriver" plain <<<'a log for an output other than the first'
echo "$name" >>"$root/others"

# Nix allows ? and = in names; neither survives in a URL as it is.
deriver=$(hashed 'odd derivation' 'odd?name=1+2.drv')
name=$(hashed 'odd output' 'odd?name=1+2')
echo odd >"$store/$name"
register "$name" "$deriver"
log "$deriver" bz2 <<<'a log whose name needs escaping'
echo "$name" >>"$root/others"

nix_store() { "$nix/nix-store" --store "$root" "$@"; }
nix_store --load-db <"$registration"

# What Nix itself adds: a tree, a flat file, and derivations, which are text and
# refer to each other.
mkdir "$root/tree" "$root/tree/empty"
echo 'a file that its own hash names' >"$root/tree/flat"
ln -s flat "$root/tree/link"
cat >"$root/drv.nix" <<-'NIX'
	let
	  drv = name: input: derivation {
	    inherit name input;
	    system = "x86_64-linux";
	    builder = builtins.toFile "builder.sh" "echo $input > $out";
	  };
	in drv "second" (drv "first" "none")
NIX
nix_store --add "$root/tree" >"$root/added"
nix_store --add-fixed sha256 "$root/tree/flat" >>"$root/added"
# It warns that nothing keeps the derivation from garbage collection.
"$nix/nix-instantiate" --quiet --store "$root" "$root/drv.nix" >>"$root/added"
sed 's,^.*/nix/store/,,' "$root/added" >>"$root/others"

# The top refers to everything, directly or not.
top=$(hashed "top $(sha1sum <"$root/plan")" debian-closure)
mkdir "$store/$top"
mapfile -t all < <(cut -f2 "$root/plan"; cat "$root/others")
references_file "$store/$top" "${all[@]}"
: >"$registration"
register "$top" - "${all[@]}"
nix_store --load-db <"$registration"

say "letting Nix check it"
nix_store --verify --check-contents
nix_store -qR "/nix/store/$top" | sort >"$root/paths"
echo "/nix/store/$top" >"$root/top"
rm -rf "${root:?}"/{home,tree,drv.nix,added,files,nar,plan,others,registration}
echo "$version" >"$root/complete"
if [ -e "$dir" ]; then discard "$dir"; fi
mv "$root" "$dir"
trap - EXIT
say "$(wc -l <"$dir/paths") paths, $(du -sh "$dir/nix/store" | cut -f1) in $dir"
