// Package layout is what a binary-cache tree is, and the only door into one.
//
// A tree is a set of keys with bytes behind them: files below a directory
// (Dir), or objects in a bucket. It looks like this, and like nothing else:
//
//	nix-cache-info              store directory, priority, mass query
//	<hash>.narinfo              one per store path, signed
//	<hash>.ls                   the listing of its NAR
//	nar/<filehash>.nar.<ext>    the NAR, named by the hash of the compressed file
//	log/<drv>                   build logs
//	debuginfo/<build-id>[.debug]
//	realisations/…              outputs of content-addressed derivations, Nix up to 2.34
//	build-trace-v2/…            the same, Nix from 2.35
//	pins/<name>                 store paths that are to stay
//	index.html, …               what a person sees in a browser
//	.nixstatic/                 ours: staging and locks; never served, never mirrored
//
// Five invariants hold at every instant, after a crash too. Comments and tests
// cite them by number:
//
//	I1  Nothing stands at its final key before its bytes were checked.
//	I2  A narinfo is published last and withdrawn first.
//	I3  A published narinfo's references are published, or declared as provided
//	    by a named upstream.
//	I4  An immutable key never changes its bytes; putting the same bytes again
//	    succeeds.
//	I5  "Absent" and "could not tell" are different answers: fs.ErrNotExist is
//	    returned only for what is known to be absent.
//
// A crash may leave unreferenced files beyond that, which a later garbage
// collection removes.
//
// The Writer is the way in: one pass over a NAR checks, lists, compresses and
// hashes it into a spool, and Publish makes it visible in the order that I2
// and I3 ask for. Package fsck reads a tree and says where it is wrong.
package layout
