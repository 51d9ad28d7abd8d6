# A cache gets a new key, and no client is refused meanwhile.
# Pages: docs/key-rotation.md docs/clients.md

machine server
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic export --to ./cache -k secret.key ./result
nixstatic serve ./cache --read-only &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine early
nixstatic use https://cache.example.org --yes
machine late
nixstatic use https://cache.example.org --yes

machine server
nixstatic key generate --name cache.example.org-2 --to new.key
nixstatic verify --deep ./cache
nixstatic sign ./cache -k new.key
nixstatic verify --trusted-public-key "$(nixstatic key public new.key)" ./cache
built 2
nixstatic export --to ./cache -k secret.key -k new.key ./result

machine early
nixstatic use https://cache.example.org --yes
project 1
nix build
says "hello 1, built on server" ./result/bin/hello
# This one has not heard of the new key, and misses nothing yet.
machine late
project 2
nix build
says "hello 2, built on server" ./result/bin/hello

machine server
built 3
nixstatic export --to ./cache -k new.key ./result
nixstatic page ./cache --public-key "$(nixstatic key public new.key)"

machine early
project 3
nix build
says "hello 3, built on server" ./result/bin/hello
machine late
project 3
nix build
says "hello 3, built on late" ./result/bin/hello

machine new
nixstatic use https://cache.example.org --yes
refused "" grep -r cache.example.org-1 "$NIX_CONF_DIR"
project 1
nix build
says "hello 1, built on server" ./result/bin/hello
