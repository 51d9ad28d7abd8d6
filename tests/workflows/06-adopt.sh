# A folder that nix copy wrote for years becomes a checked cache.
# Pages: docs/adopting.md docs/clients.md

machine server
built 1
given nix copy --to file:///srv/cache ./result
built 2
given nix copy --to file:///srv/cache ./result
OLD=$(grep -l "^StorePath: .*-hello-1$" /srv/cache/*.narinfo)
given truncate -s 100 "/srv/cache/$(sed -n 's/^URL: //p' "$OLD")"

nixstatic key generate --name cache.example.org-1 --to secret.key
refused "would go into the quarantine" nixstatic adopt -n /srv/cache
check test -e "$OLD"
refused "hello-1" nixstatic adopt /srv/cache -k secret.key
nixstatic verify --deep /srv/cache
nixstatic page /srv/cache --public-key "$(nixstatic key public secret.key)"
number 2 nixstatic find -q /srv/cache ''

nginx_serves /srv/cache
machine developer
project 2
nixstatic use https://cache.example.org --yes
nix build
says "hello 2, built on server" ./result/bin/hello
