# shellcheck shell=bash
# What the benches of buckets share. Sourced after common.sh.

# start_minio starts the pinned MinIO on one drive, with the bucket "cache".
# Its URL for nixstatic is s3 PREFIX, its name for rclone is minio:cache.
start_minio() {
	unset AWS_CA_BUNDLE # rclone refuses one that it does not need
	export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=benchbench
	export MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY
	export RCLONE_CONFIG_MINIO_TYPE=s3 RCLONE_CONFIG_MINIO_PROVIDER=Minio RCLONE_CONFIG_MINIO_ENV_AUTH=true
	export RCLONE_CONFIG_MINIO_ENDPOINT=http://127.0.0.1:18093 RCLONE_CONFIG=/dev/null
	"$NIXSTATIC_TEST_CACHE/minio/minio" server --quiet --address 127.0.0.1:18093 "$WORK/drive" >"$WORK/minio.log" 2>&1 &
	minio=$!
	trap 'kill $minio; wait || true' EXIT
	local i
	for ((i = 0; i < 100; i++)); do
		! curl -fs -o /dev/null http://127.0.0.1:18093/minio/health/ready || break
		sleep 0.1
	done
	rclone -q mkdir minio:cache
}

s3() {
	printf 's3://cache?endpoint=127.0.0.1:18093&scheme=http&region=us-east-1'
}
