# Of five builds the last three stay, in one cache by a pin, in another by runs.
# Pages: docs/pruning.md

machine server
nixstatic key generate --name cache.example.org-1 --to secret.key
nixstatic init ./cache
built 1
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result --keep-last 3
built 2
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result --keep-last 3
built 3
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result --keep-last 3
built 4
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result --keep-last 3
built 5
nixstatic export --to ./cache -k secret.key ./result
nixstatic pin ./cache app ./result --keep-last 3

# All of them are young.
nixstatic gc -n ./cache
number 6 nixstatic find -q ./cache ''

nixstatic gc -n ./cache --keep-young 0 --grace 0
number 6 nixstatic find -q ./cache ''
nixstatic gc ./cache --keep-young 0 --grace 0
number 4 nixstatic find -q ./cache ''
refused "nothing was found" nixstatic find -q ./cache hello-1
nixstatic verify --deep ./cache
nixstatic gc undo ./cache
number 6 nixstatic find -q ./cache ''
nixstatic verify --deep ./cache
