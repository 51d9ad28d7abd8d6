# A person looks around in a browser, and takes one file.
# Pages: docs/page.md docs/without-nix.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
built 1
nixstatic export --to ./cache -k secret.key ./result
nixstatic page ./cache --title 'Example cache' --url https://cache.example.org
nixstatic serve ./cache --read-only &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine someone
says "Example cache" curl -sSf https://cache.example.org/
says "cache.example.org-1:" curl -sSf https://cache.example.org/public-keys
check [ "$(curl -sSf https://cache.example.org/stats.json | jq .paths)" = 2 ]
nixstatic ls -lR https://cache.example.org hello-1
nixstatic cat https://cache.example.org hello-1/bin/hello > hello
check grep -q "built on server" hello
