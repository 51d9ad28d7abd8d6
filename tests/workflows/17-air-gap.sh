# A cache behind an air gap gets what it lacks, as a file on a stick.
# Pages: docs/air-gap.md docs/clients.md

machine home
nixstatic key generate --name cache.example.org-1 --to secret.key
KEY=$(nixstatic key public secret.key)
nixstatic init ./cache
built 1
nixstatic export --to ./cache -k secret.key ./result
given mkdir /media/usb
offline

machine site
nixstatic init /srv/nix-cache
nixstatic bundle state /srv/nix-cache -o /media/usb/have
machine home
nixstatic bundle create --have /media/usb/have -o /media/usb/b.tar ./cache ./result
machine site
nixstatic bundle apply /media/usb/b.tar /srv/nix-cache --trusted-public-key "$KEY"
number 2 nixstatic find -q /srv/nix-cache ''
given nixstatic use /srv/nix-cache --key "$KEY"
project 1
nix build --option substitute true .#everything
says "hello 1, built on home" ./result/bin/hello

# The next one carries what is new, and no more.
given rm /media/usb/have /media/usb/b.tar
nixstatic bundle state /srv/nix-cache -o /media/usb/have
machine home
built 2
nixstatic export --to ./cache -k secret.key ./result
nixstatic bundle create --have /media/usb/have -o /media/usb/b.tar ./cache ./result
number 1 tar -tf /media/usb/b.tar --wildcards '*.narinfo'
machine site
nixstatic bundle apply /media/usb/b.tar /srv/nix-cache --trusted-public-key "$KEY"
check nixstatic verify --deep /srv/nix-cache
project 2
says no-network nixstatic doctor
given 'echo substitute = true >> "$NIX_CONF_DIR/nix.conf"'
says no-network nixstatic doctor
given 'echo substitute = true >> ~/.config/nix/nix.conf'
says_not no-network nixstatic doctor
nix build
says "hello 2, built on home" ./result/bin/hello
