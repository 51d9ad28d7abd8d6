# Memory of the server: an upload of 5 GB, 1,000 idle connections.
. ./common.sh
. ./serving.sh
o="$WORK/tree"
serve_ours 18090 "$o" -k "$WORK/key" --anonymous-upload
read -r before _ < <(rss "$server")
# A file of 5 GB as a NAR without compression, the way Nix sends it.
head -c 500M /dev/urandom >"$WORK/part"
cat "$WORK"/part{,,,,,,,,,} >"$WORK/large"
rm "$WORK/part"
"$old/nix-store" --store "$WORK/store" --add "$WORK/large" >"$WORK/list"
rm "$WORK/large"
HOME=$WORK/home "$newest/nix" --extra-experimental-features nix-command copy --no-check-sigs \
	--store "$WORK/store" --to 'http://127.0.0.1:18090/upload?compression=none' $(cat "$WORK/list") >/dev/null 2>&1
read -r now peak < <(rss "$server")
echo "idle at the start $before KiB; 5 GB uploaded: peak $peak KiB, $now KiB afterwards"
ulimit -n 4096
for i in $(seq 1000); do
	exec {fd}<>/dev/tcp/127.0.0.1/18090
	printf 'GET /nix-cache-info HTTP/1.1\r\nHost: x\r\n\r\n' >&"$fd"
done
sleep 2
read -r idle _ < <(rss "$server")
echo "with 1,000 idle connections: $idle KiB, $((idle - now)) more"
