# nix copy --from a server that fills its tree from an upstream, and directly from the
# upstream: for the first time, and again when the tree has the closure.
. ./common.sh
. ./serving.sh
o="$WORK/upstream"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top")"
serve_nginx 18091 "$o"
public=$("$NIXSTATIC" key public "$WORK/key")
t="$WORK/tree"
mkdir -p "$t"
serve_ours 18090 "$t" -k "$WORK/key" --min-free 0 --pull-through http://127.0.0.1:18091 --pull-through-key "$public"
get() {
	printf 'HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --from http://127.0.0.1:%s --to %s/root $(cat %s) >/dev/null 2>&1' \
		"$WORK" "$newest" "$1" "$WORK" "$CLOSURE/top"
}
clean="chmod -R u+w $WORK/root 2>/dev/null; rm -rf $WORK/home $WORK/root"
# The tree is emptied, not moved: the server stands in it. Nothing is deleted, see
# forget.
empty="mkdir -p $WORK/old; find $t -mindepth 1 -maxdepth 1 ! -name .nixstatic ! -name nix-cache-info -exec mv -t \$(mktemp -d $WORK/old/XXXXXX) {} +"
echo "for the first time:"
"$PAIR" -n "${N:-5}" -prepare "sleep 2; $empty; $clean; sync" through "$(get 18090)" upstream "$(get 18091)"
echo "the same, the client on one processor and the servers on another, as on two machines:"
for pid in "$server" $(pgrep -P "$(cat "$WORK/nginx/pid")"); do
	taskset -acp 1 "$pid" >/dev/null
done
"$PAIR" -n "${N:-5}" -prepare "sleep 2; $empty; $clean; sync" \
	through "taskset -c 0 sh -c '$(get 18090)'" upstream "taskset -c 0 sh -c '$(get 18091)'"
sh -c "$clean; $(get 18090)"
# The paths appear in the tree in the background: until then their records name the path in
# the URL of the NAR.
for narinfo in "$o"/*.narinfo; do
	i=0
	while curl -fs "http://127.0.0.1:18090/${narinfo##*/}" | grep -q '^URL: .*?of='; do
		[ $((i += 1)) -lt 600 ] || { echo "bench: error: ${narinfo##*/} is not published" >&2; exit 1; }
		sleep 0.1
	done
done
stop_all
serve_nginx 18091 "$o"
serve_ours 18090 "$t" -k "$WORK/key" --min-free 0 --pull-through http://127.0.0.1:18091 --pull-through-key "$public"
through=$server
serve_ours 18092 "$o" --read-only
trap 'kill "$through"; stop_all' EXIT
echo "when it is there:"
"$PAIR" -n "${N:-5}" -prepare "$clean; sync" through "$(get 18090)" serve "$(get 18092)"
chmod -R u+w "$WORK/root"
