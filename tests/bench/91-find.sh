# One name of a million, in a directory with the search index of its page; the names that
# the kernel knows are dropped before each run where that is allowed.
. ./common.sh
export GOFLAGS=-buildvcs=false
go run ./names "$WORK/tree" "${PATHS:-1000000}"
"$NIXSTATIC" page "$WORK/tree" --quiet >/dev/null
"$PAIR" -n "${N:-5}" -prepare "sync; echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true" \
	nixstatic "$NIXSTATIC find $WORK/tree package-4711-1.2 >/dev/null" \
	ls "ls -f $WORK/tree >/dev/null"
