# The closure as zstd, with listings, debug links and a signature.
. ./common.sh
n="$WORK/nix" o="$WORK/ours"
"$PAIR" -n "${N:-7}" -prepare "$(forget "$n" "$o")" \
	nixstatic "$(ours "$CLOSURE" "$o" "$CLOSURE/top" --debug-info)" \
	nix-copy "$(nix_copy "$newest" "$CLOSURE" "$n" 'compression=zstd&write-nar-listing=true&index-debug-info=true' "$CLOSURE/top")"
# Both trees again, since each was removed before the other's last run.
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top" --debug-info)"
eval "$(nix_copy "$newest" "$CLOSURE" "$n" 'compression=zstd&write-nar-listing=true&index-debug-info=true' "$CLOSURE/top")"
sizes "$o" "$n"
