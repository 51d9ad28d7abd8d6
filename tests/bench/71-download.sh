# nix copy --from, over HTTP, of the same tree.
. ./common.sh
. ./serving.sh
o="$WORK/tree"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top")"
serve_nginx 18091 "$o"
serve_ours 18090 "$o" --read-only
get() {
	printf 'HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --from http://127.0.0.1:%s --to %s/root $(cat %s) >/dev/null 2>&1' \
		"$WORK" "$newest" "$1" "$WORK" "$CLOSURE/top"
}
"$PAIR" -n "${N:-5}" -prepare "chmod -R u+w $WORK/root 2>/dev/null; rm -rf $WORK/home $WORK/root; sync" \
	nixstatic "$(get 18090)" \
	nginx "$(get 18091)"
chmod -R u+w "$WORK/root"
