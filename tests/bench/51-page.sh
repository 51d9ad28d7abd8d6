# A page for browsers that is kept current, beside a tree without one.
. ./common.sh
store=${PAGE_STORE:-$SYNTHETIC} p="$WORK/page" o="$WORK/plain"
"$PAIR" -n "${N:-5}" -prepare "$(forget "$p" "$o"); $NIXSTATIC init $p; $NIXSTATIC init --no-page $o" \
	with-page "$(ours "$store" "$p" "$store/top")" \
	without "$(ours "$store" "$o" "$store/top")"
eval "$(forget "$p")"
"$NIXSTATIC" init "$p" >/dev/null
eval "$(ours "$store" "$p" "$store/top")"
echo "first load: $(cat "$p"/{index.html,style.css,page.js,favicon.svg} | wc -c) bytes; shards: $(find "$p/search" -name '*.txt' | wc -l)"
