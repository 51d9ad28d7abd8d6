# The closure without compression: reading, hashing and writing alone.
. ./common.sh
n="$WORK/nix" o="$WORK/ours"
"$PAIR" -n "${N:-7}" -prepare "$(forget "$n" "$o")" \
	nixstatic "$(ours "$CLOSURE" "$o" "$CLOSURE/top" --compression none)" \
	nix-copy "$(nix_copy "$newest" "$CLOSURE" "$n" 'compression=none&write-nar-listing=true' "$CLOSURE/top")"
