# Each build is copied by a stock Nix, as a run of its own.
# Pages: docs/pushing.md docs/ci.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
nixstatic token create --file tokens --name ci --scope upload --netrc cache.example.org > netrc
nixstatic serve ./cache --tokens tokens -k secret.key &
ready http://127.0.0.1:8080/nix-cache-info
secure

machine ci
take server netrc ~/.netrc
RUN=1
built 1
nix copy --to "https://cache.example.org/upload/root/acme/app/$RUN" --option netrc-file ~/.netrc ./result
RUN=2
built 2
nix copy --to "https://cache.example.org/upload/root/acme/app/$RUN" --option netrc-file ~/.netrc ./result

# The path that both builds need went over the line once.
machine server
number 3 nixstatic find ./cache -q ''
nixstatic verify --deep ./cache
says "acme/app@1" nixstatic du ./cache
says "acme/app@2" nixstatic du ./cache
