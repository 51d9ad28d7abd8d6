#!/usr/bin/env bash
# What `make lint` checks. The tools are modules pinned by tests/tools/go.mod.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { printf 'lint: %s\n' "$*"; }

say gofmt
unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	printf 'lint: error: not formatted:\n%s\n' "$unformatted" >&2
	exit 1
fi

say 'shell scripts parse'
find .ci/run . -name .git -prune -o -type f \( -name '*.sh' -o -path .ci/run \) -print0 |
	xargs -0 -n 1 bash -n

say 'go.mod lists what is imported, no more and no less'
go mod tidy -diff

say 'go vet'
go vet -tags real ./...

# What people run the program on. A Mac runs the tests that need Go alone, so
# those have to build there as well.
for platform in darwin/arm64 linux/arm64; do
	say "go vet for $platform"
	tags=
	[ "${platform%/*}" != linux ] || tags=real
	GOOS=${platform%/*} GOARCH=${platform#*/} go vet -trimpath -tags "$tags" ./...
	GOOS=${platform%/*} GOARCH=${platform#*/} go build -trimpath -o /dev/null ./...
done

(cd tests/tools && go build -o ../../bin/ tool)

say staticcheck
bin/staticcheck -tags real ./...

# A function that neither the program nor a test can reach is removed. The examples of
# the documentation are compiled and not run.
say deadcode
dead=$(bin/deadcode -test -tags real ./...)
if dead=$(grep -v 'unreachable func: Example' <<<"$dead") && [ -n "$dead" ]; then
	printf 'lint: error: %s\n' "$dead" >&2
	exit 1
fi

# The one check that needs the network: without its database there is nothing to
# check against, and that is said, not passed over.
say govulncheck
status=0
report=$(bin/govulncheck -tags real ./... 2>&1) || status=$?
if [ "$status" -eq 0 ]; then
	say "$(tail -n 1 <<<"$report")"
elif [ "$status" -ne 3 ] && grep -q '^govulncheck: fetching vulnerabilities: ' <<<"$report"; then
	say "warning: KNOWN VULNERABILITIES NOT CHECKED, the database did not answer:"
	say "warning: $(grep '^govulncheck:' <<<"$report")"
else
	printf '%s\n' "$report" >&2
	exit 1
fi
