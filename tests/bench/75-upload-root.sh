# nix copy --to the URL of a run, beside the plain upload URL: what the run relies
# upon is written down before each answer that it relies upon. Each push by a run
# names another one, as CI does.
. ./common.sh
. ./serving.sh
a="$WORK/tree" b="$WORK/tree-of-runs"
serve_ours 18090 "$a" -k "$WORK/key" --anonymous-upload
serve_ours 18091 "$b" -k "$WORK/key" --anonymous-upload
put() {
	printf 'HOME=%s/home %s/nix --extra-experimental-features nix-command copy --no-check-sigs --store %s --to "http://127.0.0.1:%s?compression=zstd" $(cat %s/top) >/dev/null 2>&1' \
		"$WORK" "$newest" "$CLOSURE" "$1" "$CLOSURE"
}
empty="mkdir -p $WORK/old; for t in $a $b; do find \$t -mindepth 1 -maxdepth 1 ! -name .nixstatic ! -name nix-cache-info -exec mv -t \$(mktemp -d $WORK/old/XXXXXX) {} +; done; rm -rf $WORK/home; sync"
echo "a closure that the server does not have:"
"$PAIR" -n "${N:-5}" -prepare "$empty" run "$(put '18091/upload/root/acme/app/main/$(date +%s%N)')" plain "$(put 18090/upload)"
echo "one that it has, and a client that does not know:"
"$PAIR" -n "${N:-5}" -prepare "rm -rf $WORK/home" run "$(put '18091/upload/root/acme/app/main/$(date +%s%N)')" plain "$(put 18090/upload)"
"$NIXSTATIC" verify --quiet "$b"
