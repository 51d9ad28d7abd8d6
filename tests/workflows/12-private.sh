# A cache that only those who have a token read.
# Pages: docs/private-caches.md

machine server
built 1
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic export --to ./cache -k secret.key ./result
nixstatic token create --file tokens --name laptop --scope read > laptop.token
nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc
nixstatic serve ./cache --private --tokens tokens -k secret.key --trusted-proxy 127.0.0.1 &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine stranger
refused 401 curl -sSf https://cache.example.org/nix-cache-info
refused token nixstatic use https://cache.example.org --yes

machine laptop
take server laptop.token laptop.token
nixstatic use https://cache.example.org --token-file laptop.token --yes
check [ "$(stat -c %a "$NIX_CONF_DIR/netrc")" = 600 ]
nixstatic doctor https://cache.example.org
project 1
nix build
says "hello 1, built on server" ./result/bin/hello
# A reader does not upload.
refused 403 nixstatic push https://cache.example.org/upload ./result --netrc-file "$NIX_CONF_DIR/netrc"

machine ci
take server netrc ~/.netrc
built 2
nixstatic push https://cache.example.org/upload ./result

# The laptop is stolen.
machine server
nixstatic token list --file tokens
nixstatic token revoke --file tokens laptop
machine laptop
refused token-refused nixstatic doctor https://cache.example.org

# The same files behind nginx alone, with a password.
nginx_stops
machine server
printf 'reader:%s\n' "$(openssl rand -hex 16)" > reader.token
printf 'reader:%s\n' "$(cut -d: -f2 reader.token | openssl passwd -apr1 -stdin)" > cache.htpasswd
nginx_serves_with_password "$PWD/cache" "$PWD/cache.htpasswd"
machine stranger
refused 401 nixstatic use https://cache.example.org --yes
machine desk
take server reader.token reader.token
nixstatic use https://cache.example.org --token-file reader.token --yes
nixstatic doctor https://cache.example.org
project 2
nix build
says "hello 2, built on ci" ./result/bin/hello
