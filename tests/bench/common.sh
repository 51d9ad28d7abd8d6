# shellcheck shell=bash
# What the benches share. Sourced, with the environment of run.sh.

newest=$(nix_of sid)
old=$(nix_of bookworm)
export newest old

"$newest/nix" key generate-secret --key-name bench-1 >"$WORK/key"

# nix_copy BIN STORE TREE QUERY LIST prints the command that copies the paths in
# the file LIST. Nix remembers what it saw in a cache; a fresh home forgets it.
nix_copy() {
	printf 'HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --store %s --to "file://%s?%s&secret-key=%s/key" $(cat %s) >/dev/null 2>&1' \
		"$WORK" "$1" "$2" "$3" "$4" "$WORK" "$5"
}

# ours STORE TREE LIST FLAGS... prints the command that exports the same.
ours() {
	local store=$1 tree=$2 list=$3
	shift 3
	printf '%s export --quiet --store %s --to %s -k %s/key %s - <%s' \
		"$NIXSTATIC" "$store" "$tree" "$WORK" "$*" "$list"
}

# forget prints the command that puts trees out of the way and removes what Nix
# remembers of them. Nothing is deleted before the end: ext4 looks for inodes that
# were not in use a minute ago, and that would count as the next run's work.
forget() {
	printf 'mkdir -p %s/old; for t in %s; do [ ! -e $t ] || mv $t $(mktemp -d %s/old/XXXXXX); done; rm -rf %s/home; sync' \
		"$WORK" "$*" "$WORK" "$WORK"
}

size() {
	du -s --apparent-size --block-size=1 "$1" | cut -f1
}

# sizes A B prints how large two trees came out.
sizes() {
	awk -v a="$(size "$1")" -v b="$(size "$2")" \
		'BEGIN { printf "tree: %.1f MB and %.1f MB, ratio %.3f\n", a/1e6, b/1e6, a/b }'
}
