# A colleague without Nix takes files out of a cache, and puts files in.
# Pages: docs/without-nix.md docs/private-caches.md

machine server
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic export --to ./cache -k secret.key ./result
nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc
nixstatic serve ./cache --tokens tokens -k secret.key &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine colleague
without_nix
take server netrc ~/.netrc
nixstatic find https://cache.example.org hello
nixstatic ls -lR https://cache.example.org hello-1
nixstatic cat https://cache.example.org hello-1/bin/hello > hello
check cmp hello "$WORLD/machines/server$(readlink "$WORLD/machines/server/home/app/result")/bin/hello"

given mkdir data
given cp "$WORLD/cert.pem" data/
nixstatic add --to https://cache.example.org/upload --name dataset-1.0 ./data
PATH_OF_DATA=$(nixstatic find https://cache.example.org dataset-1.0 -q)

# One with Nix has it without a key: its content proves it.
machine developer
nix copy --from https://cache.example.org "$PATH_OF_DATA"
check cmp "$PATH_OF_DATA/cert.pem" "$WORLD/cert.pem"
