# A disk carries a cache to a place without a line, and what was built there back.
# Pages: docs/copying.md

machine home
nixstatic key generate --name cache.example.org-1 --to secret.key
KEY=$(nixstatic key public secret.key)
built 1
nixstatic init ./cache
nixstatic export --to ./cache -k secret.key ./result
nixstatic sync ./cache /media/usb/cache

offline
machine site
nixstatic use /media/usb/cache --key "$KEY"
project 1
nix build --option substitute true .#everything
says "hello 1, built on home" ./result/bin/hello
built 2
nixstatic key generate --name site.example.org-1 --to site.key
nixstatic export --to /media/usb/cache -k site.key ./result

machine home
nixstatic verify --deep /media/usb/cache
nixstatic sync /media/usb/cache ./cache
number 3 nixstatic find -q ./cache ''
nixstatic verify --deep ./cache
