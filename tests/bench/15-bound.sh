# How close the zstd export comes to reading, hashing, compressing and writing on
# all cores without any loss.
. ./common.sh
go build -o "$WORK/bound" ./bound
o="$WORK/ours"
for _ in 1 2 3 4 5; do
	eval "$(forget "$o")"
	start=$(date +%s%N)
	eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top")"
	took=$((($(date +%s%N) - start) / 1000))
	bound=$("$WORK/bound" "$CLOSURE" "$o" | tee "$WORK/out" | awk '/^bound/ { print $2 }')
	awk -v t="$took" -v b="$bound" 'BEGIN { printf "export %.2f s, bound %.2f s: %.0f %% of it reached\n", t/1e6, b, 100*b*1e6/t }'
done
cat "$WORK/out"
