# The hook of a build: what one start of it takes, and many small builds with it and
# without. A build waits for its hook.
. ./common.sh
q="$WORK/queue"
"$NIXSTATIC" watch "$WORK/cache" --hook --queue "$q" >/dev/null 2>&1
cat >"$WORK/send.sh" <<EOF
i=0
while [ \$i -lt 100 ]; do OUT_PATHS=/nix/store/00000000000000000000000000000000-\$i $q/post-build-hook; i=\$((i + 1)); done
EOF
cat >"$WORK/true.sh" <<'EOF'
i=0
while [ $i -lt 100 ]; do OUT_PATHS=/nix/store/00000000000000000000000000000000-$i /bin/true; i=$((i + 1)); done
EOF
echo "watch send, a hundred times, beside /bin/true:"
"$PAIR" -n "${N:-5}" -prepare "rm -rf $q/new/*" send "sh $WORK/send.sh" true "sh $WORK/true.sh"

builds=${BUILDS:-500}
cat >"$WORK/many.nix" <<'EOF'
{ count, seconds ? "0" }: builtins.genList (i: derivation {
  name = "small-${toString i}"; system = builtins.currentSystem; builder = "/bin/sh";
  args = [ "-c" "/bin/sleep ${seconds}; echo ${toString i} > $out" ];
}) count
EOF
# build NAME OPTIONS [COUNT SECONDS] prints the command that builds all, or so many builds
# that take so long, in a new store.
build() {
	local s="$WORK/store-$1"
	printf 'HOME=%s/home %s/nix-build --quiet --store "local?store=%s/store&real=%s/store&state=%s/state&log=%s/log" --option build-users-group "" --no-out-link %s/many.nix --arg count %s --argstr seconds %s %s >/dev/null 2>&1' \
		"$WORK" "$newest" "$s" "$s" "$s" "$s" "$WORK" "${3:-$builds}" "${4:-0}" "$2"
}
echo "$builds builds with the hook and without:"
"$PAIR" -n "${N:-5}" -prepare "$(forget "$WORK/store-with" "$WORK/store-bare"); rm -rf $q/new/*; mkdir -p $q/new" \
	with "$(build with "--option post-build-hook $q/post-build-hook")" bare "$(build bare "")"
echo "what a hook costs that does nothing:"
"$PAIR" -n "${N:-5}" -prepare "$(forget "$WORK/store-true" "$WORK/store-bare")" \
	true "$(build true "--option post-build-hook /bin/true")" bare "$(build bare "")"
echo "a tenth as many builds that take 0.2 s each:"
"$PAIR" -n "${N:-5}" -prepare "$(forget "$WORK/store-with" "$WORK/store-bare"); rm -rf $q/new/*; mkdir -p $q/new" \
	with "$(build with "--option post-build-hook $q/post-build-hook" $((builds / 10)) 0.2)" bare "$(build bare "" $((builds / 10)) 0.2)"
sh -c "$(forget "$WORK/store-with"); $(build with "--option post-build-hook $q/post-build-hook")"
added=$(ls "$q/new" | wc -l)
echo "in the queue: $added"
[ "$added" = "$builds" ]
