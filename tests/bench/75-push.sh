# nixstatic push and nix copy to the same server, which checks, lists and signs. The
# client has one processor and the server another, as on two machines.
. ./common.sh
. ./serving.sh
o="$WORK/tree"
serve_ours 18090 "$o" -k "$WORK/key" --anonymous-upload
taskset -acp 1 "$server" >/dev/null
url=http://127.0.0.1:18090/upload
nix=$(printf 'taskset -c 0 sh -c '\''HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --store %s --to "%s?compression=zstd" $(cat %s) >/dev/null 2>&1'\' \
	"$WORK" "$newest" "$CLOSURE" "$url" "$CLOSURE/top")
push="taskset -c 0 $NIXSTATIC push --quiet --store $CLOSURE $url --stdin <$CLOSURE/top"
# The tree is emptied, not moved: the server stands in it. Nothing is deleted, see
# forget.
empty="mkdir -p $WORK/old; find $o -mindepth 1 -maxdepth 1 ! -name .nixstatic ! -name nix-cache-info -exec mv -t \$(mktemp -d $WORK/old/XXXXXX) {} +; rm -rf $WORK/home; sync"
echo "the closure:"
"$PAIR" -n "${N:-5}" -prepare "$empty" push "$push" nix-copy "$nix"
echo "the closure, which is there:"
sh -c "$push"
"$PAIR" -n "${N:-5}" -prepare "rm -rf $WORK/home" push "$push" nix-copy "$nix"
echo "with one path missing:"
record=$(find "$o" -maxdepth 1 -name '*.narinfo' -exec grep -lE '^StorePath: .*-(tree|flat)$' {} + | head -n 1)
"$PAIR" -n "${N:-5}" -prepare "rm -rf $WORK/home; rm -f $record" push "$push" nix-copy "$nix"
"$NIXSTATIC" verify --quiet --deep "$o"
