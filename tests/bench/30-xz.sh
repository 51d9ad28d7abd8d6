# A part of the closure as xz: curl and what it refers to. Nix 2.8, whose size
# is the measure, takes one core.
. ./common.sh
grep -E -- '-curl-[0-9]' "$CLOSURE/paths" | sed -n 1p >"$WORK/list"
n="$WORK/nix" o="$WORK/ours"
"$PAIR" -n "${N:-3}" -prepare "$(forget "$n" "$o")" \
	nixstatic "$(ours "$CLOSURE" "$o" "$WORK/list" --compression xz)" \
	nix-copy-2.8 "$(nix_copy "$old" "$CLOSURE" "$n" 'compression=xz&write-nar-listing=true' "$WORK/list")"
eval "$(ours "$CLOSURE" "$o" "$WORK/list" --compression xz)"
eval "$(nix_copy "$old" "$CLOSURE" "$n" 'compression=xz&write-nar-listing=true' "$WORK/list")"
sizes "$o" "$n"
