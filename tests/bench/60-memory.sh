# Peak memory does not depend on sizes or numbers.
. ./common.sh
# 10 GB: a quarter is data, spread over the file.
i=0
while [ $i -lt 10 ]; do
	head -c 256M /dev/urandom | dd of="$WORK/large" bs=1M seek=$((i * 1000)) conv=notrunc,sparse status=none
	i=$((i + 1))
done
truncate -s 10G "$WORK/large"
command time -f 'one path of 10 GB: %M KiB, %e s' "$NIXSTATIC" add --to "$WORK/tree" "$WORK/large" >/dev/null
rm -rf "$WORK/large" "$WORK/tree"
command time -f '50,000 paths: %M KiB, %e s' sh -c "$(ours "$SYNTHETIC" "$WORK/tree" "$SYNTHETIC/top")"
command time -f '50,000 paths, nothing to do: %M KiB, %e s' sh -c "$(ours "$SYNTHETIC" "$WORK/tree" "$SYNTHETIC/top")"
command time -f '50,000 paths, verify --deep: %M KiB, %e s' "$NIXSTATIC" verify --quiet --deep "$WORK/tree"
