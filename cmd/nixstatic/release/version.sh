#!/usr/bin/env bash
# Prints the version of this checkout, and the time of its commit in seconds since 1970:
#
#   v0.1.0 1796000000
#
# A tag vX.Y.Z names the version, and after that tag `git describe` does. Before the first
# tag it is what Go calls such a version. An archive of the source, which git or a forge
# made, has all of that in the file commit.
set -euo pipefail
cd "$(dirname "$0")/../../.."

dirty=
if [ -e .git ]; then
	read -r time hash <<<"$(git log -1 --format='%ct %H')"
	name=$(git describe --tags --match 'v[0-9]*' 2>/dev/null) || name=
	[ -z "$(git status --porcelain --untracked-files=no)" ] || dirty=-dirty
else
	read -r time hash name <cmd/nixstatic/release/commit
	if [[ $time != [0-9]* ]]; then
		echo 'version: error: this is neither a git checkout nor an archive that git made' >&2
		exit 1
	fi
fi
[ -n "$name" ] || name=v0.0.0-$(TZ=UTC printf '%(%Y%m%d%H%M%S)T' "$time")-${hash:0:12}
printf '%s\n' "$name$dirty $time"
