# Exporting the closure into a bucket, and into a directory. MinIO has its share
# of the same processors and disk: what that is at least, putting the finished
# tree there with its own client tells.
. ./common.sh
. ./bucket.sh
start_minio
empty="rclone -q delete minio:cache; $(forget "$WORK/dir")"
"$PAIR" -n "${N:-5}" -prepare "$empty" \
	bucket "$(ours "$CLOSURE" "'$(s3)'" "$CLOSURE/top")" \
	directory "$(ours "$CLOSURE" "$WORK/dir" "$CLOSURE/top")"
echo "the same, nixstatic on one processor and MinIO on the other, as on two machines:"
taskset -acp 1 "$minio" >/dev/null
"$PAIR" -n "${N:-5}" -prepare "$empty" \
	bucket "taskset -c 0 sh -c '$(ours "$CLOSURE" "\"$(s3)\"" "$CLOSURE/top")'" \
	directory "taskset -c 0 sh -c '$(ours "$CLOSURE" "$WORK/dir" "$CLOSURE/top")'"
taskset -acp "0-$(($(nproc) - 1))" "$minio" >/dev/null
for ((i = 0; i < ${N:-5}; i++)); do
	rclone -q delete minio:cache
	before=$(minio_seconds)
	command time -f "the tree put by mc: %e s, %U+%S s of processor time" "$MC" mirror --quiet --exclude '.nixstatic/*' "$WORK/dir" m/cache >/dev/null
	echo "of MinIO: $(minio_seconds | awk -v before="$before" '{ printf "%.2f", $1 - before }') s of processor time"
done
