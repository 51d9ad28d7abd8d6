// Package uses remembers which paths of a tree were read, and when, to the day.
//
//	.nixstatic/used/<day>/<writer>
//
// An object is text: a line of JSON, then the hash of a store path whose narinfo was
// read, or the name of a NAR that was read, on each line. Each server writes objects of
// its own, one a day unless there are very many reads; an import of a log writes one
// for each day of the log.
//
// Use can only keep: that a path was not read means little. A Nix remembers a narinfo for
// 30 days, and other caches may stand between it and the tree.
package uses
