# A machine that builds all day sends what it builds, and no build waits.
# Pages: docs/ci.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc
nixstatic serve ./cache --tokens tokens -k secret.key &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine builder
project 1
take server netrc ~/.netrc
nixstatic watch https://cache.example.org/upload --hook --write system
nix build .#everything
nixstatic watch status
says '"waiting": 2' nixstatic watch status --json
nixstatic watch drain --strict
says '"waiting": 0' nixstatic watch status --json

# From now on a service sends.
nixstatic watch https://cache.example.org/upload &
project 2
nix build .#everything
nixstatic watch drain --strict
stop

machine developer
project 2
nixstatic use https://cache.example.org --yes
nix build .#everything
says "hello 2, built on builder" ./result/bin/hello

machine builder
nixstatic watch --hook --remove
refused "" grep post-build-hook "$NIX_CONF_DIR/nix.conf"
