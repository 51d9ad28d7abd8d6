# shellcheck shell=bash
# What the benches of buckets share. Sourced after common.sh.

# MinIO's own client has no releases as a module, only commits. Pinned by the
# hash that the checksum database has of this one.
mc_version=v0.0.0-20250313080218-cf909e1063a9

# start_minio starts the pinned MinIO on one drive, with the bucket "cache", and
# sees to it that $MC is MinIO's client. The bucket's URL for nixstatic is s3, its
# name for rclone is minio:cache, and for $MC m/cache.
start_minio() {
	unset AWS_CA_BUNDLE # rclone refuses one that it does not need
	export AWS_ACCESS_KEY_ID=bench AWS_SECRET_ACCESS_KEY=benchbench
	export MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY
	export RCLONE_CONFIG_MINIO_TYPE=s3 RCLONE_CONFIG_MINIO_PROVIDER=Minio RCLONE_CONFIG_MINIO_ENV_AUTH=true
	export RCLONE_CONFIG_MINIO_ENDPOINT=http://127.0.0.1:18093 RCLONE_CONFIG=/dev/null
	export MC_HOST_m="http://$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY@127.0.0.1:18093" MC_CONFIG_DIR="$WORK/mc"
	export MC=$NIXSTATIC_TEST_CACHE/mc-$mc_version/mc
	[ -x "$MC" ] || GOBIN=${MC%/mc} go install "github.com/minio/mc@$mc_version"
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

# s3 [BUCKET] prints a bucket's URL.
s3() {
	printf 's3://%s?endpoint=127.0.0.1:18093&scheme=http&region=us-east-1' "${1:-cache}"
}

# minio_seconds prints the processor time that MinIO has taken.
minio_seconds() {
	awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hz }' "/proc/$minio/stat"
}
