# shellcheck shell=bash
# What the benches of the server share. Sourced after common.sh.

# serve_nginx PORT ROOT starts nginx with the WebDAV module on ROOT: it stores
# what it is sent and checks nothing. Its files are sent with sendfile.
serve_nginx() {
	mkdir -p "$2" "$WORK/nginx/tmp"
	cat >"$WORK/nginx/nginx.conf" <<-CONF
		worker_processes 2;
		pid $WORK/nginx/pid;
		error_log $WORK/nginx/error.log;
		events { worker_connections 4096; }
		http {
		  access_log off;
		  sendfile on;
		  tcp_nopush on;
		  keepalive_requests 1000000;
		  client_body_temp_path $WORK/nginx/tmp;
		  server {
		    listen 127.0.0.1:$1;
		    root $2;
		    client_max_body_size 0;
		    dav_methods PUT;
		    create_full_put_path on;
		  }
		}
	CONF
	# As root its workers would be another user, who may not write here.
	[ "$(id -u)" != 0 ] || sed -i '1i user root;' "$WORK/nginx/nginx.conf"
	PATH="$PATH:/usr/sbin" nginx -c "$WORK/nginx/nginx.conf"
	trap stop_all EXIT
}

# serve_ours PORT TREE FLAGS... starts nixstatic serve; its pid is in $server.
serve_ours() {
	local port=$1 tree=$2
	shift 2
	case $tree in s3://*) ;; *) [ -e "$tree/nix-cache-info" ] || "$NIXSTATIC" init --no-page "$tree" >/dev/null ;; esac
	"$NIXSTATIC" serve "$tree" --listen "127.0.0.1:$port" --log-level warn "$@" >"$WORK/serve.log" 2>&1 &
	server=$!
	trap stop_all EXIT
	wait_for "http://127.0.0.1:$port/nix-cache-info"
}

wait_for() {
	local i
	for ((i = 0; i < 100; i++)); do
		curl -fs -o /dev/null "$1" && return
		sleep 0.1
	done
	echo "bench: error: nothing answers at $1" >&2
	return 1
}

stop_all() {
	[ ! -f "$WORK/nginx/pid" ] || kill "$(cat "$WORK/nginx/pid")" || true
	[ -z "${server-}" ] || kill "$server" || true
	wait || true
}

# rss PID prints the resident memory of a process in KiB: now, and at its peak.
rss() {
	awk '/^VmRSS/ { now = $2 } /^VmHWM/ { peak = $2 } END { print now, peak }' "/proc/$1/status"
}
