# Everything is there already.
. ./common.sh
n="$WORK/nix" o="$WORK/ours"
for store in "$CLOSURE" "$SYNTHETIC"; do
	echo "$(wc -l <"$store/paths") paths, first run:"
	command time -f 'nixstatic %e s' sh -c "$(ours "$store" "$o" "$store/top")"
	command time -f 'nix-copy  %e s' sh -c "$(nix_copy "$newest" "$store" "$n" 'compression=zstd&write-nar-listing=true' "$store/top")"
	echo "again:"
	"$PAIR" -n "${N:-5}" -prepare "rm -rf $WORK/home" \
		nixstatic "$(ours "$store" "$o" "$store/top")" \
		nix-copy "$(nix_copy "$newest" "$store" "$n" 'compression=zstd&write-nar-listing=true' "$store/top")"
	rm -rf "$n" "$o"
done
