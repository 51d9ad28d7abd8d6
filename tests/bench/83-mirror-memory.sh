# What a mirror takes in memory does not depend on how many objects there are.
# Source and destination are made up, so that what is seen is the mirror's own,
# and 16 bytes for each path that the source is made up of.
for paths in ${PATHS:-3333 33333 333333}; do
	NIXSTATIC_TEST_PATHS=$paths go test -count=1 -timeout 30m -run '^TestMirrorScale$' -v ../../sync/mirror | grep ' objects, '
done
