# One path of 2 GB.
. ./common.sh
find "$CLOSURE/nix/store" -type f -size +4k -print0 | sort -z | xargs -0 cat >"$WORK/part"
cat "$WORK"/part{,,,} >"$WORK/large"
truncate -s 2000000000 "$WORK/large"
rm "$WORK/part"
store="$WORK/store"
"$old/nix-store" --store "$store" --add "$WORK/large" >"$WORK/list"
rm "$WORK/large"
n="$WORK/nix" o="$WORK/ours"
"$PAIR" -n "${N:-3}" -prepare "$(forget "$n" "$o")" \
	nixstatic "$(ours "$store" "$o" "$WORK/list")" \
	nix-copy "$(nix_copy "$newest" "$store" "$n" 'compression=zstd&write-nar-listing=true' "$WORK/list")"
eval "$(ours "$store" "$o" "$WORK/list")"
eval "$(nix_copy "$newest" "$store" "$n" 'compression=zstd&write-nar-listing=true' "$WORK/list")"
sizes "$o" "$n"
