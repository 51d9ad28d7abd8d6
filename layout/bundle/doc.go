// Package bundle carries store paths across an air gap, in files.
//
// The receiving side says what it has (a State). The sending side makes a Plan of what
// a closure has beyond that, and writes it into one file, or into parts for small media.
// The receiving side opens them all as a Bundle: a cache that is only read, whose
// paths go the way of those of any other cache (package export), with all its checks.
//
// A bundle is a tar file whose members have the names of a tree:
//
//	nixstatic-bundle.json    JSON: the version of the format, the store directory, and
//	                         which part this is
//	nix-cache-info
//	nar/… <hash>.ls log/… <hash>.narinfo    of one path after the other, references first
//	realisations/… build-trace-v2/…
//	nixstatic-bundle.sums    the SHA-256 of each member before it, as sha256sum prints them
//
// So "tar xf" of a bundle, or of all its parts, into an empty folder makes a cache there.
// A NAR that is larger than a part is cut: its pieces are called by its key, where they
// begin and how many bytes the NAR has, and cat of them in the order of their names makes
// the NAR.
//
// A part has no path whose references are in a later part. The sums come last, so that a
// file which was cut off is told from a whole one.
package bundle
