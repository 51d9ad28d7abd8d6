// Package mirror makes one tree equal to another, object by object.
//
// A Mirror makes a tree, or a server that takes PUT (httpcache.PutServer), equal to
// another tree; package watch keeps it so. It knows keys and bytes, and takes no
// path apart:
//
//	two listings, side by side → what differs
//	       → copy: NARs, logs, debug links, listings, pages, what upstreams
//	         provide, narinfos level by level, realisations, nix-cache-info
//	       → remove, if asked to: realisations, narinfos from the top down, and
//	         the rest, but for what a narinfo that stays leads to
//
// This holds at every instant, wherever a run is killed:
//
//   - No object appears before its bytes were checked: those of a NAR against its
//     name, those of the others against the grammar of their kind (I1).
//   - A narinfo is at the destination only beside its NAR, its listing if the
//     source has one, and all its references, or the records of the upstreams
//     that provide them (I2, I3). A narinfo that lacks any of them is left out, and
//     the end of the run tells so. It keeps nothing else back.
//   - Those records are the only private objects that are mirrored.
//   - Runs to one destination take turns. In a directory they hold a lock that
//     ends with the process; in a bucket a lease, an object that its holder
//     renews by conditional PUTs and that is free a minute after the last, or
//     seconds after the holder has died on the same machine. No clocks are
//     compared.
//   - A source that has no nix-cache-info is taken for one that is not there, and
//     nothing is removed on its word (I5).
//
// A run with nothing to do costs the listings and takes no lock. The
// listings cannot tell whether small objects of the same size are equal: those are
// compared once, and the result is remembered in a file that may be lost.
package mirror
