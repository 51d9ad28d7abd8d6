# Requests for one narinfo a second: wrk with 32 connections on one processor, and on the
# other one nixstatic, a bare net/http handler that writes the same bytes, or nginx. And the
# processor time of a request, which other programs on the machine disturb less.
. ./common.sh
. ./serving.sh
o="$WORK/tree"
eval "$(ours "$CLOSURE" "$o" "$CLOSURE/top")"
serve_nginx 18091 "$o"
serve_ours 18090 "$o" --read-only
narinfo=$(basename "$(find "$o" -maxdepth 1 -name '*.narinfo' | sort | sed -n 1p)")
(cd ../.. && CGO_ENABLED=0 go build -trimpath -o "$WORK/bare" ./tests/bench/bare)
"$WORK/bare" 127.0.0.1:18092 "http://127.0.0.1:18090/$narinfo" >"$WORK/bare.log" 2>&1 &
bare=$!
trap 'kill $bare; stop_all' EXIT
wait_for http://127.0.0.1:18092/
for pid in "$server" "$bare" $(pgrep -P "$(cat "$WORK/nginx/pid")"); do
	taskset -acp 1 "$pid" >/dev/null
done
# spent prints the processor time of processes in nanoseconds.
spent() {
	local pid
	for pid in "$@"; do cat "/proc/$pid"/task/*/schedstat; done | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
}
# The programs take turns, since the machine changes its speed.
for _ in $(seq "${N:-5}"); do
	for port in 18090 18092 18091; do
		case $port in
		18090) pids=$server ;;
		18092) pids=$bare ;;
		*) pids=$(pgrep -P "$(cat "$WORK/nginx/pid")") ;;
		esac
		# shellcheck disable=SC2086 # they are several
		before=$(spent $pids)
		taskset -c 0 wrk -t 1 -c 32 -d "${SECONDS_EACH:-3}s" "http://127.0.0.1:$port/$narinfo" >"$WORK/wrk"
		# shellcheck disable=SC2086
		awk -v port="$port" -v ns="$(($(spent $pids) - before))" '/requests in/ { n = $1 } /Requests\/sec/ { r = $2 }
			/Non-2xx|Socket errors/ { print "error:", $0 >"/dev/stderr" } END { print port, r, ns / n / 1000 }' "$WORK/wrk"
	done
done | awk '
	{ rate[$1] = rate[$1] " " $2; if ($1 == 18090) a[++n] = $2; else if ($1 == 18092) b[n] = a[n] / $2; else c[n] = a[n] / $2 }
	{ time[$1] = time[$1] sprintf(" %.1f", $3); if ($1 == 18090) d[n] = $3; else if ($1 == 18092) e[n] = d[n] / $3; else f[n] = d[n] / $3 }
	function median(r, n, i, j, t) {
		for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (r[j] < r[i]) { t = r[i]; r[i] = r[j]; r[j] = t }
		return r[int((n + 1) / 2)]
	}
	END {
		printf "nixstatic%s requests/s\nbare     %s requests/s\nnginx    %s requests/s\n", rate[18090], rate[18092], rate[18091]
		printf "ratio to the bare handler: median %.2f, to nginx: %.2f\n", median(b, n), median(c, n)
		printf "processor time of a request in microseconds: nixstatic%s, bare%s, nginx%s\n", time[18090], time[18092], time[18091]
		printf "ratio to the bare handler: median %.2f, to nginx: %.2f\n", median(e, n), median(f, n)
	}'
