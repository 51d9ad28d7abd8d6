// Package roots remembers what runs push and rely upon, so that gc can keep the
// generations of a root.
//
//	.nixstatic/roots/<name>/@<run>/<list>
//
// A list is text: a line of JSON, then the hashes of store paths, one on each line.
// Each process that takes uploads has lists of its own, so that no two processes
// write one object; all lists of a run are one generation. A list is written before
// the first answer that a client relies on, so that whatever dies, what a client was
// told stays.
package roots
