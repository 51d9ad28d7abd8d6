# What nix copy wrote of the closure becomes a checked tree, against a deep check of the
# same tree once it is one: both read each NAR once.
. ./common.sh
left="$WORK/left" tree="$WORK/tree" whole="$WORK/whole"
for compression in ${COMPRESSION:-zstd}; do
	eval "$(nix_copy "$newest" "$CLOSURE" "$left" "compression=$compression" "$CLOSURE/${LIST:-top}")"
	cp -al "$left" "$whole"
	"$NIXSTATIC" adopt --quiet -k "$WORK/key" "$whole"
	echo "$compression: $(find "$left" -name '*.narinfo' | wc -l) paths, $(size "$left") bytes"
	# A run remembers what it read, and other runs are not to know.
	"$PAIR" -n "${N:-5}" -prepare "rm -rf $tree $HOME/.cache/nixstatic && cp -al $left $tree && sync" \
		adopt "$NIXSTATIC adopt --quiet -k $WORK/key $tree" \
		verify-deep "$NIXSTATIC verify --quiet --deep $whole"
	rm -rf "$left" "$tree" "$whole"
done
