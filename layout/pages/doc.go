// Package pages makes what a person sees of a tree in a browser, from records: an
// index, a page for every path, numbers, and an index to search in. All of it is
// plain files that any web server or bucket can host.
//
// A single file shows every path: path.html reads the narinfo and the listing of the
// path that its fragment names, so that a path has a page as soon as it is in the
// tree.
//
// The search index is two tables of lines, ordered by their keys: search/hashes.json
// has one line for each path, search/names.json one for each word of its name. A
// table is a list of shards, each with the key that it begins with. A shard is
// named by the hash of its bytes, so that a list and its shards always fit, in
// whatever order caches forget them. A change rewrites the shards that it falls
// into and the list, which is replaced only if it is still the one that was read;
// so writers at different tables, machines and times lose nothing. Shards that no
// list names any more stay for an hour, for browsers with an older list.
//
// search/hashes.json also counts: it is what stats.json and index.html are made
// from. Everything in this package but Keeper computes bytes from records.
package pages
