# Many small objects, mirrored to MinIO. OBJECTS says how many; 100000 take half an
# hour. Every first run has a new bucket: to empty one takes as long as to fill it.
. ./common.sh
. ./bucket.sh
start_minio
o="$WORK/tree"
# The paths of SYNTHETIC are numbered, and refer to lower numbers alone. Each is
# a NAR, a listing and a narinfo.
find "$SYNTHETIC/nix/store" -maxdepth 1 -name '*-path-*' -printf '/nix/store/%f\n' |
	awk -F- -v n="$((${OBJECTS:-20000} / 3))" '$NF < n' >"$WORK/list"
eval "$(ours "$SYNTHETIC" "$o" "$WORK/list")"
next="date +b%N >$WORK/bucket; $MC mb --quiet m/\$(cat $WORK/bucket) >/dev/null; sync"
sync() { printf '%s sync --quiet %s "%s"' "$NIXSTATIC" "$o" "$(s3 "$1")"; }
rclone() { printf "rclone -q sync --transfers 16 --exclude '.nixstatic/**' %s minio:%s" "$o" "$1"; }
mc() { printf "%s mirror --quiet --exclude '.nixstatic/*' %s m/%s >/dev/null" "$MC" "$o" "$1"; }
this="\$(cat $WORK/bucket)"
echo "all of them, $(find "$o" -type f | wc -l) files:"
"$PAIR" -cold -n "${N:-1}" -prepare "$next" nixstatic "$(sync "$this")" rclone "$(rclone "$this")"
"$PAIR" -cold -n "${N:-1}" -prepare "$next" nixstatic "$(sync "$this")" mc "$(mc "$this")"
echo "nothing to do:"
sh -c "$(sync cache)"
"$PAIR" -n "${N:-5}" nixstatic "$(sync cache)" rclone "$(rclone cache)"
"$PAIR" -n "${N:-5}" nixstatic "$(sync cache)" mc "$(mc cache)"
# No mirror can be faster than the store lists what it has.
before=$(minio_seconds)
sh -c "$(sync cache)"
echo "of which MinIO took $(minio_seconds | awk -v before="$before" '{ printf "%.2f", $1 - before }') s of processor time for one listing"
