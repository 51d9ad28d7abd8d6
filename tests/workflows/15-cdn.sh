# A CDN before a public bucket keeps what it may, and is told what changed.
# Pages: docs/bucket-with-cdn.md docs/clients.md docs/key-rotation.md

machine server
built 1
buckets
ready https://minio.example.org/minio/health/live
a_cdn
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init --public 's3://cache?endpoint=minio.example.org'
nixstatic export --to 's3://cache?endpoint=minio.example.org' -k secret.key ./result

machine first
project 1
nixstatic use https://cdn.example.org --yes
nixstatic doctor https://cdn.example.org
nix build
says "hello 1, built on server" ./result/bin/hello
NARINFO=https://cdn.example.org/$(basename "$(readlink result)" | cut -c -32).narinfo
NAR=https://cdn.example.org/$(curl -sSf "$NARINFO" | sed -n 's/^URL: //p')
says "X-Cache: HIT" curl -sSfI "$NAR"
says immutable curl -sSfI "$NAR"
says "max-age=300" curl -sSfI "$NARINFO"
says 404 curl -sSI https://cdn.example.org/00000000000000000000000000000000.narinfo
refused 403 curl -sSf https://cdn.example.org/.nixstatic/policy

# The CDN has the old record until it is told.
machine server
nixstatic key generate --name cache.example.org-2 --to new.key
given 'printf "#!/bin/sh\ncat >>urls\n" >purge; chmod +x purge'

nixstatic sign 's3://cache?endpoint=minio.example.org' -k new.key --purge-url https://cdn.example.org --purge-hook ./purge
check grep -qx "$NARINFO" urls
