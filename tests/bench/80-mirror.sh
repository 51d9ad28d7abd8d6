# The tree of the closure, mirrored to MinIO: nixstatic, which checks each file on
# its way and keeps the order that readers need, and two that copy: rclone, and
# MinIO's own client.
. ./common.sh
. ./bucket.sh
start_minio
o="$WORK/tree"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top" --debug-info --logs)"
sync="$NIXSTATIC sync --quiet $o '$(s3)'"
rclone="rclone -q sync --transfers 16 --exclude '.nixstatic/**' $o minio:cache"
mc="$MC mirror --quiet --exclude '.nixstatic/*' $o m/cache >/dev/null"
echo "all of it, $(find "$o" -type f | wc -l) files, $(size "$o" | awk '{ printf "%.0f MB", $1/1e6 }'):"
empty='rclone -q delete minio:cache; sync'
"$PAIR" -n "${N:-5}" -prepare "$empty" nixstatic "$sync" rclone "$rclone"
"$PAIR" -n "${N:-5}" -prepare "$empty" nixstatic "$sync" mc "$mc"
echo "nothing to do:"
sh -c "$sync"
"$PAIR" -n "${N:-5}" nixstatic "$sync" rclone "$rclone"
"$PAIR" -n "${N:-5}" nixstatic "$sync" mc "$mc"
