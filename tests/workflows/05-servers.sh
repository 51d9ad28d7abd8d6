# The same files behind nginx, behind Caddy, and in a bucket.
# Pages: docs/bucket-with-cdn.md docs/clients.md examples/nginx/README.md

machine server
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init /srv/nix-cache
nixstatic export --to /srv/nix-cache -k secret.key ./result
nginx_serves /srv/nix-cache

machine first
project 1
nixstatic use https://cache.example.org --yes
nix build
says "hello 1, built on server" ./result/bin/hello
nixstatic doctor https://cache.example.org
nginx_stops

caddy_serves /srv/nix-cache
ready https://cache.example.org/nix-cache-info
machine second
project 1
nixstatic use https://cache.example.org --yes
nix build
says "hello 1, built on server" ./result/bin/hello
nixstatic doctor https://cache.example.org
refused 404 curl -sSf https://cache.example.org/.nixstatic/lock
stop

machine server
buckets
ready https://minio.example.org/minio/health/live
nixstatic init --public 's3://cache?endpoint=minio.example.org'
nixstatic export --to 's3://cache?endpoint=minio.example.org' -k secret.key ./result
machine third
project 1
nixstatic use https://minio.example.org/cache --yes
nix build
says "hello 1, built on server" ./result/bin/hello
nixstatic doctor https://minio.example.org/cache
refused 403 curl -sSf https://minio.example.org/cache/.nixstatic/policy
