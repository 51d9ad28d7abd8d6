# nix copy --to, over HTTP: nixstatic checks, lists and signs what nginx's WebDAV
# module only stores. Everything on this machine, so that the client's work and
# the server's add up.
. ./common.sh
. ./serving.sh
n="$WORK/nginx-tree" o="$WORK/tree"
serve_nginx 18091 "$n"
serve_ours 18090 "$o" -k "$WORK/key" --anonymous-upload
put() {
	printf 'HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --store %s --to "http://127.0.0.1:%s?%s" $(cat %s) >/dev/null 2>&1' \
		"$WORK" "$newest" "$CLOSURE" "$1" "$2" "$3"
}
# The trees are emptied, not moved: both servers stand in them. Nothing is
# deleted, see forget.
empty="mkdir -p $WORK/old; for t in $n $o; do find \$t -mindepth 1 -maxdepth 1 ! -name .nixstatic ! -name nix-cache-info -exec mv -t \$(mktemp -d $WORK/old/XXXXXX) {} +; done; rm -rf $WORK/home; printf 'StoreDir: /nix/store\n' >$n/nix-cache-info; sync"
echo "as Nix does it by default, xz, a part of the closure:"
grep -E -- '-curl-[0-9]' "$CLOSURE/paths" | sed -n 1p >"$WORK/list"
"$PAIR" -n "${N:-3}" -prepare "$empty" \
	nixstatic "$(put 18090/upload '' "$WORK/list")" \
	nginx-dav "$(put 18091 '' "$WORK/list")"
echo "zstd, the closure:"
"$PAIR" -n "${N:-5}" -prepare "$empty" \
	nixstatic "$(put 18090/upload compression=zstd "$CLOSURE/top")" \
	nginx-dav "$(put 18091 compression=zstd "$CLOSURE/top")"
echo "the same, the client on one processor and the server on another, as on two machines:"
for pid in "$server" $(pgrep -P "$(cat "$WORK/nginx/pid")"); do
	taskset -acp 1 "$pid" >/dev/null
done
"$PAIR" -n "${N:-5}" -prepare "$empty" \
	nixstatic "taskset -c 0 sh -c '$(put 18090/upload compression=zstd "$CLOSURE/top")'" \
	nginx-dav "taskset -c 0 sh -c '$(put 18091 compression=zstd "$CLOSURE/top")'"
"$NIXSTATIC" verify --quiet --deep "$o"
