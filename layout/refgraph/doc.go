// Package refgraph holds which store path refers to which, for millions of paths:
// what grows with them is in temporary files, and memory takes a few bytes for
// each.
package refgraph
