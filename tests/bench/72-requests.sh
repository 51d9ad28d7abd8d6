# Requests for one narinfo, and bytes of one NAR, a second: wrk with 32 connections.
. ./common.sh
. ./serving.sh
o="$WORK/tree"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top")"
serve_nginx 18091 "$o"
serve_ours 18090 "$o" --read-only
narinfo=$(basename "$(find "$o" -maxdepth 1 -name '*.narinfo' | sort | sed -n 1p)")
nar=nar/$(ls -S "$o/nar" | sed -n 1p)
# The programs take turns, since the machine changes its speed.
for what in "$narinfo" "$nar"; do
	for _ in $(seq "${N:-5}"); do
		for port in 18090 18091; do
			wrk -t 2 -c 32 -d 3s "http://127.0.0.1:$port/$what" |
				awk -v port="$port" '/Requests\/sec/ { r = $2 } /Transfer\/sec/ { t = $2 } /Non-2xx|Socket errors/ { print "error:", $0 >"/dev/stderr" } END { print port, r, t }'
		done
	done | awk -v what="$what" '
		{ rate[$1] = rate[$1] " " $2; if ($1 == 18090) a[++n] = $2; else r[n] = a[n] / $2 }
		END {
			printf "%s\n  nixstatic%s requests/s\n  nginx    %s requests/s\n  ratio   ", what, rate[18090], rate[18091]
			for (i = 1; i <= n; i++) printf " %.2f", r[i]
			for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (r[j] < r[i]) { t = r[i]; r[i] = r[j]; r[j] = t }
			printf ", median %.2f\n", r[int((n + 1) / 2)]
		}'
done
