# shellcheck shell=bash
# Makes the place where a workflow takes place, and runs it:
#
#   machine.sh SCRIPT
#
# in namespaces of its own, with
#
#   WORLD       an empty directory
#   EXAMPLES    the folder of examples
#   MINIO       the program
#   WORLD/cert.pem, key.pem   for the servers of the script, and trusted by all
#
# Each function here is a word of the scripts. All else in them is in the docs.
set -euo pipefail

main() {
	mount --make-rprivate /
	mount -t proc proc /proc
	ip link set lo up
	# A Nix that sees no address but the loopback's believes that there is no network, and substitutes nothing.
	online
	printf '%s\n' '127.0.0.1 localhost' '192.0.2.1 cache.example.org' '192.0.2.2 minio.example.org' '192.0.2.3 cdn.example.org' >"$WORLD/hosts"
	mount --bind "$WORLD/hosts" /etc/hosts
	mount --bind "$WORLD/cert.pem" /etc/ssl/certs/ca-certificates.crt
	for dir in /srv /media /mnt /var/lib; do
		mount -t tmpfs tmpfs "$dir"
	done
	PATH_WITH_NIX=$PATH
	export LC_ALL=C.UTF-8 NO_COLOR=1
	PS4='+ line $LINENO: '
	set -x
	# shellcheck disable=SC1090
	. "$1"
	{ set +x; } 2>/dev/null
	echo "the workflow ends well"
}

# machine NAME goes on at another machine, which has a Nix store, settings and a
# home of its own. Names of hosts, and /srv and /media, are the same everywhere.
machine() {
	{ local - && set +x; } 2>/dev/null
	local dir=$WORLD/machines/$1
	if [ ! -d "$dir" ]; then
		mkdir -p "$dir"/{nix,etc/nix,home/.config/nix,home/app}
		echo "$1" >"$dir/nix/machine"
		printf '%s\n' 'experimental-features = nix-command flakes' 'build-users-group =' 'sandbox = false' 'substituters =' \
			>"$dir/etc/nix/nix.conf"
	fi
	mount --bind "$dir/nix" /nix
	export HOME=$dir/home PATH=$PATH_WITH_NIX
	export NIX_CONF_DIR=$dir/etc/nix NIX_USER_CONF_FILES=$HOME/.config/nix/nix.conf
	cd "$HOME/app"
	# A web server runs as another user.
	chmod 755 "$WORLD" "$WORLD"/machines{,/*} "$HOME" "$HOME/app"
}

# without_nix takes Nix away from the machine.
without_nix() {
	{ local - && set +x; } 2>/dev/null
	local program
	PATH=$(dirname "$(type -P nixstatic)"):/usr/bin:/bin
	for program in /usr/bin/nix{,-*}; do
		[ ! -e "$program" ] || mount --bind /dev/null "$program"
	done
	! nix --version 2>/dev/null || die "there is a Nix: $(type -P nix)"
}

# online connects all machines, and offline cuts the line.
online() {
	{ local - && set +x; } 2>/dev/null
	for ((i = 1; i <= 3; i++)); do ip address add "192.0.2.$i" dev lo; done
}

offline() {
	{ local - && set +x; } 2>/dev/null
	for ((i = 1; i <= 3; i++)); do ip address del "192.0.2.$i/32" dev lo; done
}

# project VERSION puts the sources of a program into the directory, or has them change.
# What the program says ends with the name of the machine that built it.
project() {
	{ local - && set +x; } 2>/dev/null
	cat >flake.nix <<-'NIX'
		{
		  outputs = { self }:
		    let
		      build = system: name: script: derivation {
		        inherit system name;
		        builder = "/bin/sh";
		        args = [ "-ec" "PATH=/usr/bin:/bin; ${script}" ];
		      };
		      packages = system: rec {
		        greeting = build system "greeting-1.0" "mkdir -p $out/share; echo hello > $out/share/greeting";
		        hello = build system "hello-${self.version}" ''
		          mkdir -p $out/bin
		          printf '#!/bin/sh\nread -r words < %s\necho "$words ${self.version}, built on %s"\n' ${greeting}/share/greeting "$(cat /nix/machine)" > $out/bin/hello
		          chmod +x $out/bin/hello
		          head -c 300000 /dev/zero > $out/padding-${self.version}
		        '';
		        default = hello;
		        everything = hello;
		      };
		    in
		    {
		      version = "VERSION";
		      packages.x86_64-linux = packages "x86_64-linux";
		      packages.aarch64-linux = packages "aarch64-linux";
		    };
		}
	NIX
	sed -i "s/VERSION/$1/" flake.nix
	[ -d .git ] || git init -q .
	git add flake.nix
}

# built VERSION is a machine that has built that version.
built() {
	project "$1"
	nix build
}

# given COMMAND… is what was there before, and what others did.
given() {
	{ local - && set +x; } 2>/dev/null
	eval "$@"
}

# take MACHINE FILE TO brings a file of another machine here, as one does with a secret.
take() {
	{ local - && set +x; } 2>/dev/null
	mkdir -p "$(dirname "$3")"
	install -m 600 "$WORLD/machines/$1/home/app/$2" "$3"
}

# says TEXT COMMAND… runs a command that succeeds and whose output holds the text.
says() {
	{ local - && set +x; } 2>/dev/null
	local text=$1 out
	shift
	out=$("$@" 2>&1) || die "$* fails: $out"
	[[ $out == *"$text"* ]] || die "$* does not say \"$text\": $out"
}

# says_not TEXT COMMAND… runs one that succeeds without these words.
says_not() {
	{ local - && set +x; } 2>/dev/null
	local text=$1 out
	shift
	out=$("$@" 2>&1) || die "$* fails: $out"
	[[ $out != *"$text"* ]] || die "$* says \"$text\": $out"
}

# refused TEXT COMMAND… runs a command that fails with words that hold the text.
refused() {
	{ local - && set +x; } 2>/dev/null
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then die "$* succeeds: $out"; fi
	[[ $out == *"$text"* ]] || die "$* does not say \"$text\": $out"
}

# check COMMAND… fails the workflow if the command does.
check() {
	{ local - && set +x; } 2>/dev/null
	"$@" || die "check $*"
}

# number N COMMAND… checks of how many lines the output of a command is.
number() {
	{ local - && set +x; } 2>/dev/null
	local want=$1 out
	shift
	out=$("$@")
	[ "$(grep -c . <<<"$out")" = "$want" ] || die "$*: not $want lines: $out"
}

# ready URL waits until a server that was started in the background answers.
ready() {
	{ local - && set +x; } 2>/dev/null
	for ((i = 0; i < 300; i++)); do
		! curl -so /dev/null "$1" || return 0
		kill -0 $! || die "the server ended"
		sleep 0.1
	done
	die "$1 does not answer"
}

# stop ends the server that was started last.
stop() {
	{ local - && set +x; } 2>/dev/null
	kill $!
	wait $! || [ $? = 143 ] || die "the server did not end well: $?"
}

# secure has https://cache.example.org lead to a nixstatic serve at port 8080.
secure() {
	{ local - && set +x; } 2>/dev/null
	nginx_with "server {
		listen 192.0.2.1:443 ssl;
		$(cat "$EXAMPLES/nginx/upload.conf")
		location / { proxy_pass http://127.0.0.1:8080; proxy_buffering off; proxy_set_header Host \$http_host; }
	}"
}

# a_cdn has https://cdn.example.org keep what the public bucket gives, as its headers say.
a_cdn() {
	{ local - && set +x; } 2>/dev/null
	mkdir -p "$WORLD/cdn"
	nginx_with "proxy_cache_path $WORLD/cdn keys_zone=cdn:1m;
	server {
		listen 192.0.2.3:443 ssl;
		location / {
			proxy_pass https://minio.example.org/cache/;
			proxy_cache cdn;
			proxy_ignore_headers Vary;
			add_header X-Cache \$upstream_cache_status;
		}
	}"
}

# nginx_serves DIR has nginx serve a cache by our example, and over TLS.
nginx_serves() {
	{ local - && set +x; } 2>/dev/null
	nginx_with "$(sed -e 's/listen 80;/listen 192.0.2.1:443 ssl;/' -e '/listen \[::\]/d' -e "s|/srv/nix-cache|$1|" "$EXAMPLES/nginx/nginx.conf")"
}

# nginx_serves_with_password DIR FILE does so for those who are in the FILE.
nginx_serves_with_password() {
	{ local - && set +x; } 2>/dev/null
	nginx_with "auth_basic cache; auth_basic_user_file $2;
	$(sed -e 's/listen 80;/listen 192.0.2.1:443 ssl;/' -e '/listen \[::\]/d' -e "s|/srv/nix-cache|$1|" "$EXAMPLES/nginx/nginx.conf")"
}

nginx_with() {
	local dir
	dir=$(mktemp -d -p "$WORLD")
	printf '%s\n' "pid $dir/pid; user root; error_log stderr warn; events {} http {" "$1" \
		"access_log off; ssl_certificate $WORLD/cert.pem; ssl_certificate_key $WORLD/key.pem;" \
		"client_body_temp_path $dir/b; proxy_temp_path $dir/p; fastcgi_temp_path $dir/f; uwsgi_temp_path $dir/u; scgi_temp_path $dir/s; }" >"$dir/conf"
	nginx -e stderr -p "$dir" -c "$dir/conf"
}

# nginx_stops frees the address.
nginx_stops() {
	{ local - && set +x; } 2>/dev/null
	local pid
	for pid in "$WORLD"/*/pid; do
		kill "$(cat "$pid")"
		while [ -e "$pid" ]; do sleep 0.02; done
	done
}

# caddy_serves DIR has Caddy serve a cache by our example.
caddy_serves() {
	{ local - && set +x; } 2>/dev/null
	sed -e "s|/srv/nix-cache|$1\n\ttls $WORLD/cert.pem $WORLD/key.pem|" "$EXAMPLES/caddy/Caddyfile" >"$WORLD/Caddyfile"
	sed -i '1i {\n\tadmin off\n\tauto_https disable_redirects\n}' "$WORLD/Caddyfile"
	caddy run --config "$WORLD/Caddyfile" --adapter caddyfile >"$WORLD/caddy.log" 2>&1 &
}

# buckets starts MinIO at minio.example.org. Those who know are in ~/.aws/credentials.
buckets() {
	{ local - && set +x; } 2>/dev/null
	mkdir -p "$WORLD/minio/certs" ~/.aws
	cp "$WORLD/cert.pem" "$WORLD/minio/certs/public.crt"
	cp "$WORLD/key.pem" "$WORLD/minio/certs/private.key"
	MINIO_ROOT_USER=operator MINIO_ROOT_PASSWORD=not-much-of-a-secret MINIO_BROWSER=off MINIO_UPDATE=off \
		"$MINIO" server --quiet --certs-dir "$WORLD/minio/certs" --address minio.example.org:443 "$WORLD/minio/drive" >"$WORLD/minio.log" 2>&1 &
	printf '%s\n' '[default]' 'aws_access_key_id = operator' 'aws_secret_access_key = not-much-of-a-secret' >~/.aws/credentials
}

die() {
	{ set +x; } 2>/dev/null
	printf '%s\n' "FAILED: $*" >&2
	exit 1
}

main "$@"
