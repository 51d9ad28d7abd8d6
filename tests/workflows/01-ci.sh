# A job builds and pushes, and a developer gets what it built.
# Pages: docs/ci.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc
nixstatic serve ./cache --tokens tokens -k secret.key &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine ci
project 1
take server netrc ~/.netrc
nix build .#everything
nixstatic push https://cache.example.org/upload ./result

machine developer
project 1
nixstatic use https://cache.example.org --yes
nix build .#everything
says "hello 1, built on ci" ./result/bin/hello

# Another job pushes while it builds.
machine ci
project 2
nixstatic watch https://cache.example.org/upload --exec -- nix build .#everything

machine developer
project 2
nix build .#everything
says "hello 2, built on ci" ./result/bin/hello

# What no job has built is built here.
project 3
nix build .#everything
says "hello 3, built on developer" ./result/bin/hello
