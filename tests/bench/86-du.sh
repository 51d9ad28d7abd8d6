# What du takes, in time and memory, of trees of many paths and 500 roots. The trees are
# made up: the smallest files that gc takes for a path, a NAR and a listing.
#
# A small process starts du: Linux counts the memory of the one that starts a program for
# that too, and the test that makes the tree has much.
cat >"$WORK/du" <<'EOF'
#!/bin/sh
[ "$1" != du ] || exec time -f '%e s, of them %U s user and %S s system time, %M KB at most' "$NIXSTATIC" "$@"
exec "$NIXSTATIC" "$@"
EOF
chmod +x "$WORK/du"
for paths in ${PATHS:-10000 100000 1000000}; do
	NIXSTATIC_TEST_PATHS=$paths NIXSTATIC_TEST_DU=$WORK/du go test -count=1 -timeout 60m -run '^TestMeasureScale$' -v ../../layout/gc | grep ' paths, '
done
