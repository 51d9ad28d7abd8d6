#!/usr/bin/env bash
# The beginning of a CI job: has Nix use a cache, and sends what it builds while it builds.
#
#   NIXSTATIC_URL      the cache, as readers have it
#   NIXSTATIC_PUSH     auto, true or false
#   NIXSTATIC_TOKEN    a token, if the job does not show who it is
#   NIXSTATIC_KEY      its public key, if it is not to be asked
#   NIXSTATIC_ROOT     the root whose generation the paths are
#   NIXSTATIC_EXCLUDE  regular expressions of names that are not sent, one a line
#   NIXSTATIC_DIR      an empty folder for what post.sh needs; a new one without it
#
# post.sh belongs to the end of the job. A cache that is away fails nothing, unless
# NIXSTATIC_PUSH is true. It runs with the bash of macOS, 3.2, too.
set -euo pipefail -f
umask 077

# A runner takes lines of its own form for commands. Outside of one they would only be noise,
# and that which hides a secret would show it.
annotate() { [ "${GITHUB_ACTIONS-}" != true ] || printf '::%s::%s\n' "$1" "${2//%/%25}"; }
say() { printf 'nixstatic: %s\n' "$*"; }
warn() { annotate warning "nixstatic: $*"; say "warning: $*" >&2; }
die() { annotate error "nixstatic: $*"; say "error: $*" >&2; exit 1; }

# without ends this step: the job does without the cache, unless it must not.
without() {
	[ "$push" != true ] || die "$*"
	warn "$*: the job goes on without the cache"
	exit 0
}

# plain refuses what could be taken for something else by a runner or by Nix.
plain() { case $2 in *[[:space:][:cntrl:]]*) die "the input $1 has a blank or a line end in it" ;; esac; }
# trimmed prints a text without the blanks and line ends around it.
trimmed() {
	local text=$1
	text=${text#"${text%%[![:space:]]*}"}
	printf '%s' "${text%"${text##*[![:space:]]}"}"
}

push=$(trimmed "${NIXSTATIC_PUSH:-auto}")
case $push in auto | true | false) ;; *) die "the input push is neither auto nor true nor false" ;; esac
token=$(trimmed "${NIXSTATIC_TOKEN-}")
if [ -n "$token" ]; then
	annotate add-mask "$token"
	[ "${token#*:}" = "$token" ] || annotate add-mask "${token#*:}"
	case $token in *[[:space:][:cntrl:]]*) die "the input token is not one token" ;; esac
fi
url=$(trimmed "${NIXSTATIC_URL-}")
plain url "$url"
case $url in
http://?* | https://?*) ;;
*) die "the input url does not begin with https://" ;;
esac
base=${url%%[?#]*}
base=${base%/}
host=${base#*://}
host=${host%%/*}
case $host in
*@*) die "the input url has a user name or a password in it: the input token is for that" ;;
\[*) host=${host#\[} host=${host%%\]*} ;;
*) host=${host%:*} ;;
esac
upload=${base%/upload}/upload
key=$(trimmed "${NIXSTATIC_KEY-}")

if [ -n "${NIXSTATIC_DIR-}" ]; then
	dir=$NIXSTATIC_DIR
	mkdir -p "$dir"
else
	dir=$(mktemp -d "${RUNNER_TEMP:-${TMPDIR:-/tmp}}/nixstatic-XXXXXX")
fi

# The program of the machine, or that of this checkout.
if ! type -P nixstatic >/dev/null; then
	type -P nix >/dev/null || die "there is no Nix on this machine: a step before has to install it"
	here=$(cd "$(dirname "$0")/../.." && pwd)
	nix --extra-experimental-features 'nix-command flakes' build "path:$here" --no-write-lock-file --out-link "$dir/program" ||
		without "nixstatic could not be built"
	PATH=$dir/program/bin:$PATH
	[ -z "${GITHUB_PATH-}" ] || printf '%s\n' "$dir/program/bin" >>"$GITHUB_PATH"
fi

use=(--yes)
for word in $key; do
	use+=("--key=$word")
done
if [ -n "$token" ]; then
	printf '%s\n' "$token" >"$dir/token"
	use+=(--token-file "$dir/token")
fi
# The settings are those of this job, in a file that counts before the user's own: a runner that
# goes on has nothing left of them, and no other job has the token.
where=auto
if [ -n "${GITHUB_ENV-}" ]; then
	where=user
	files=${XDG_CONFIG_HOME:-${HOME-}/.config}:${XDG_CONFIG_DIRS:-/etc/xdg}
	files=${NIX_USER_CONF_FILES-${files//://nix/nix.conf:}/nix/nix.conf}
	export NIX_USER_CONF_FILES=$dir/nix.conf:$files
	printf 'NIX_USER_CONF_FILES=%s\n' "$NIX_USER_CONF_FILES" >>"$GITHUB_ENV"
fi
nixstatic use "${use[@]}" --write "$where" "$url" || without "the cache $url cannot be used"

# A job of a fork has neither a secret nor an identity: it reads, and sends nothing.
if [ "$push" = false ] || [ "$push" = auto ] && [ -z "$token${ACTIONS_ID_TOKEN_REQUEST_URL-}${NIXSTATIC_ID_TOKEN-}${NIXSTATIC_ID_TOKEN_FILE-}" ]; then
	say "what this job builds is not sent"
	exit 0
fi
queue=$dir/queue
watch=("$upload" --queue "$queue")
if [ -n "$token" ]; then
	login=ci password=$token
	case $token in ?*:*) login=${token%%:*} password=${token#*:} ;; esac
	printf 'machine %s login %s password %s\n' "$host" "$login" "$password" >"$dir/login"
	watch+=(--netrc-file "$dir/login")
fi
# A branch may have a name that no root can have.
root=$(trimmed "${NIXSTATIC_ROOT-}")
root=$(printf '%s' "$root" | LC_ALL=C tr -c 'A-Za-z0-9._+/-' -)
[ -z "$root" ] || watch+=("--root=$root@${GITHUB_RUN_ID:-${CI_PIPELINE_ID:-$(date +%s)}}-${GITHUB_RUN_ATTEMPT:-1}")
while IFS= read -r regex; do
	regex=${regex%$'\r'}
	[ -z "$regex" ] || watch+=("--exclude=$regex")
done <<<"${NIXSTATIC_EXCLUDE-}"

# Nix takes the hook from those whom its daemon trusts. Without it, what was built is found
# in the store at the end.
nixstatic watch "${watch[@]}" --hook --write "$where" ||
	nixstatic watch "${watch[@]}" --hook >/dev/null ||
	die "what this job builds cannot be sent"
[ -z "${GITHUB_ENV-}" ] || printf 'NIXSTATIC_QUEUE=%s\n' "$queue" >>"$GITHUB_ENV"
nohup nixstatic watch "${watch[@]}" >"$dir/log" 2>&1 </dev/null &
echo "$!" >"$dir/pid"
say "what this job builds is sent to $base"
