# A bucket that no stranger reads: a server gives it to those who have a token.
# Pages: docs/private-caches.md docs/clients.md

machine server
buckets
ready https://minio.example.org/minio/health/live
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init 's3://cache?endpoint=minio.example.org'
nixstatic export --to 's3://cache?endpoint=minio.example.org' -k secret.key ./result
refused 403 curl -sSf https://minio.example.org/cache/nix-cache-info

nixstatic token create --file tokens --name laptop --scope read > laptop.token
nixstatic serve 's3://cache?endpoint=minio.example.org' --private --tokens tokens -k secret.key --redirect presigned &
ready http://127.0.0.1:8080/nix-cache-info
secure
machine laptop
take server laptop.token laptop.token
nixstatic use https://cache.example.org --token-file laptop.token --yes
project 1
nix build
says "hello 1, built on server" ./result/bin/hello
