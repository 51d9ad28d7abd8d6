# A laptop takes the part of a cache along that it needs, and works without a line.
# Pages: docs/copying.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
KEY=$(nixstatic key public secret.key)
nixstatic init ./cache
built 1
nixstatic export --to ./cache -k secret.key ./result
built 2
nixstatic export --to ./cache -k secret.key ./result
nixstatic serve ./cache --read-only &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine laptop
project 2
given ln -s "$(readlink "$WORLD/machines/server/home/app/result")" result
nixstatic sync https://cache.example.org ./part ./result --trusted-public-key "$KEY"
nixstatic verify ./part
number 2 nixstatic find -q ./part ''

offline
refused "" nix copy --from https://cache.example.org --option extra-trusted-public-keys "$KEY" ./result
nix copy --from file://$PWD/part --option extra-trusted-public-keys "$KEY" ./result
says "hello 2, built on server" ./result/bin/hello
