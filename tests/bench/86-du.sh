# What du takes, in time and memory, of trees of many paths and 500 roots. The trees are
# made up: the smallest files that gc takes for a path, a NAR and a listing.
for paths in ${PATHS:-10000 100000 1000000}; do
	NIXSTATIC_TEST_PATHS=$paths NIXSTATIC_TEST_DU=$NIXSTATIC go test -count=1 -timeout 60m -run '^TestMeasureScale$' -v ../../layout/gc | grep ' paths, '
done
