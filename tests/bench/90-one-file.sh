# A file of 10 KB at the end of a NAR of 2 GB, over HTTP: time, and bytes that the server
# sent for one run of ours.
. ./common.sh
. ./serving.sh
mkdir -p "$WORK/big/a" "$WORK/big/z"
openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 </dev/zero 2>/dev/null | head -c "${SIZE:-2000000000}" >"$WORK/big/a/noise" || true
head -c 10000 "$WORK/big/a/noise" >"$WORK/big/z/last"
path=$("$NIXSTATIC" add --to "$WORK/tree" "$WORK/big")
rm -rf "$WORK/big"
serve_nginx 18091 "$WORK/tree"
"$PAIR" -n "${N:-3}" -prepare "rm -rf $WORK/home" \
	nixstatic "$NIXSTATIC cat http://127.0.0.1:18091 $path/z/last >/dev/null" \
	nix-store-cat "HOME=$WORK/home $newest/nix --extra-experimental-features nix-command store cat --store http://127.0.0.1:18091 $path/z/last >/dev/null 2>&1"
received() { awk '/lo:/ { print $2 }' /proc/net/dev; }
before=$(received)
"$NIXSTATIC" cat "http://127.0.0.1:18091" "$path/z/last" >/dev/null
echo "bytes over the loopback device for one cat: $(($(received) - before))"
