# One name of a million, in a directory with the search index of its page; the names that
# the kernel knows are dropped before each run where that is allowed.
. ./common.sh
export GOFLAGS=-buildvcs=false
go run ./names "$WORK/tree" "${PATHS:-1000000}"
"$NIXSTATIC" page "$WORK/tree" --quiet >/dev/null
"$PAIR" -n "${N:-5}" -prepare "sync; echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true" \
	nixstatic "$NIXSTATIC find $WORK/tree package-4711-1.2 >/dev/null" \
	ls "ls -f $WORK/tree >/dev/null"
# The bytes that a browser loads for the index, and at most for a query: a list and three shards,
# or for the beginning of a hash both lists and three shards.
size_of() { cat "$@" | wc -c; }
most=$(find "$WORK/tree/search" -name '*.txt' -printf '%s\n' | sort -n | tail -3 | awk '{ n += $1 } END { print n }')
echo "first load: $(size_of "$WORK"/tree/{index.html,style.css,page.js,favicon.svg}) bytes"
echo "a query by name: at most $(($(size_of "$WORK/tree/search/names.json") + most)) bytes; by hash: at most $(($(size_of "$WORK"/tree/search/{hashes,names}.json) + most)) bytes"
