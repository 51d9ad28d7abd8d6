# Pruning a tree in a directory: linear in its size, in little memory, and next to
# nothing where there is nothing to do.
. ./common.sh
go build -o "$WORK/prune" ./prune
export XDG_CACHE_HOME=$WORK/memory
timed() { command time -f "$1 %e s, %M KB" "${@:2}"; }
gc() { timed "$1" "$NIXSTATIC" gc "$tree" --no-pins --yes --quiet --grace 0 --keep-young 90d "${@:2}" >/dev/null; }

for n in ${PATHS:-10000 100000 1000000}; do
	tree=$WORK/tree
	printf '%s paths of 10 references:\n' "$n"
	"$WORK/prune" "$tree" 0 "$n" "$n"
	gc 'first run'
	gc 'nothing to do'
	"$WORK/prune" "$tree" "$n" $((n + 1000)) "$n"
	gc 'with 1,000 new paths'
	if [ "$n" = 100000 ]; then
		"$PAIR" -n "${N:-5}" nixstatic "$NIXSTATIC gc $tree --no-pins --yes --quiet --keep-young 90d >/dev/null" find-sort "find $tree | sort >/dev/null"
	fi
	# One path in twenty is 40 days old, and nothing refers to it.
	gc 'sweep of one in twenty' --keep-young 30d
	rm -rf "$tree"
done
