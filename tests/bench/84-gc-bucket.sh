# gc of a bucket that has nothing to remove, beside a listing of it. OBJECTS says how
# many objects there are.
. ./common.sh
. ./bucket.sh
start_minio
o="$WORK/tree"
# The paths of SYNTHETIC are numbered, and refer to lower numbers alone. Each is
# a NAR, a listing and a narinfo.
find "$SYNTHETIC/nix/store" -maxdepth 1 -name '*-path-*' -printf '/nix/store/%f\n' |
	awk -F- -v n="$((${OBJECTS:-20000} / 3))" '$NF < n' >"$WORK/list"
eval "$(ours "$SYNTHETIC" "$o" "$WORK/list")"
sh -c "$NIXSTATIC sync --quiet $o '$(s3 cache)'"
gc="$NIXSTATIC gc '$(s3 cache)' --no-pins --quiet >/dev/null"
echo "the first run, which reads each narinfo:"
sh -c "time $gc"
echo "nothing to do, $(find "$o" -type f | wc -l) files:"
"$PAIR" -n "${N:-5}" nixstatic "$gc" mc "$MC ls -r m/cache >/dev/null"
