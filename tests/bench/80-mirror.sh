# The tree of the closure, mirrored to MinIO: nixstatic, which checks each file on
# its way and keeps the order that readers need, and rclone, which copies.
. ./common.sh
. ./bucket.sh
start_minio
o="$WORK/tree"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top" --debug-info --logs)"
echo "all of it, $(find "$o" -type f | wc -l) files, $(size "$o" | awk '{ printf "%.0f MB", $1/1e6 }'):"
"$PAIR" -n "${N:-5}" -prepare 'rclone -q delete minio:cache; sync' \
	nixstatic "$NIXSTATIC sync --quiet $o '$(s3)'" \
	rclone "rclone -q sync --transfers 16 --exclude '.nixstatic/**' $o minio:cache"
echo "nothing to do:"
"$NIXSTATIC" sync --quiet "$o" "$(s3)"
"$PAIR" -n "${N:-5}" \
	nixstatic "$NIXSTATIC sync --quiet $o '$(s3)'" \
	rclone "rclone -q sync --transfers 16 --exclude '.nixstatic/**' $o minio:cache"
echo "export into the bucket, and into a directory:"
"$PAIR" -n "${N:-5}" -prepare "rclone -q delete minio:cache; rm -rf $WORK/dir; sync" \
	bucket "$(ours "$CLOSURE" "'$(s3)'" "$CLOSURE/top")" \
	directory "$(ours "$CLOSURE" "$WORK/dir" "$CLOSURE/top")"
