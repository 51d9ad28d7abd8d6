# A machine learns of a cache, finds out what is wrong, and forgets it.
# Pages: docs/clients.md

machine server
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic export --to ./cache -k secret.key ./result
nixstatic serve ./cache --read-only &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine client
given cp "$NIX_CONF_DIR/nix.conf" before
refused not-used nixstatic doctor https://cache.example.org
nixstatic use https://cache.example.org --yes
nixstatic doctor
nixstatic doctor https://cache.example.org
project 1
nix build
nixstatic doctor ./result
says "hello 1, built on server" ./result/bin/hello
project 2
nix build
refused not-there nixstatic doctor ./result

# A NixOS or a flake has the same as text.
says "cache.example.org-1:" nixstatic use https://cache.example.org --write nixos --yes
nixstatic use https://cache.example.org --remove
check cmp "$NIX_CONF_DIR/nix.conf" before
