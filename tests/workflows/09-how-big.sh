# How big a cache is, what takes the room, and what is in it.
# Pages: docs/inspecting.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
built 1
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result
built 2
nixstatic export --to ./cache -k secret.key ./result

nixstatic du ./cache
says "in all: 3 paths" nixstatic du ./cache
says "pin app@1" nixstatic du ./cache
# The sizes are those of the files, and of the store.
check [ "$(nixstatic du ./cache --json | jq '.kinds[] | select(.name == "nar").bytes')" = "$(cat cache/nar/* | wc -c)" ]
check [ "$(nixstatic info ./cache hello-2 --json | jq .closure.narSize)" = "$(nix path-info -S ./result | awk '{print $2}')" ]

nixstatic find ./cache hello
number 2 nixstatic find ./cache --file 'padding-*' -q
says "2 paths" nixstatic info ./cache hello-2
