// Package nar reads and writes the Nix ARchive format and its listings.
//
// A NAR is the canonical serialisation of one file-system object: a regular
// file, a symbolic link, or a directory of such objects. It keeps names,
// contents, link targets and one executable bit, and nothing else, so that equal
// objects have equal archives and the hash of an archive identifies what is in it.
//
// The package holds three things:
//
//   - [Dump] writes the NAR of a path, byte for byte what nix-store --dump writes.
//   - [Parser] checks a NAR while its bytes are pushed through it and tells a
//     [Visitor] what goes by. It accepts canonical archives only.
//   - [ListingWriter], [ParseListing] and [Node] write and read the
//     ".ls" listings that binary caches keep beside their NARs.
//
// Parser accepts all that Dump writes; an archive that Parser accepts has exactly
// one encoding.
//
// # Format
//
// A NAR is a sequence of strings. A string is its length as a 64-bit little
// endian integer, its bytes, and zero bytes up to a multiple of eight. The
// grammar over strings (E. Dolstra, The Purely Functional Software Deployment
// Model, 2006, section 5.2; quoted words are literal):
//
//	archive   = "nix-archive-1" node
//	node      = "(" "type" object ")"
//	object    = "regular" [ "executable" "" ] "contents" bytes
//	          | "symlink" "target" target
//	          | "directory" { "entry" "(" "name" name "node" node ")" }
//
// Entries stand in strictly ascending order of the bytes of their names. Names
// and targets are bytes, not text.
//
// # Limits
//
// The limits are those of the file systems that NARs come from, so that no
// archive Nix can make on Linux is refused, and small enough that a hostile
// archive cannot cost more than its own size in time, or about a megabyte of
// memory.
package nar

// Limits on what an archive may hold.
const (
	// MaxName is the greatest length of a directory entry's name, in bytes
	// (NAME_MAX).
	MaxName = 255

	// MaxTarget is the greatest length of a symbolic link's target, in bytes
	// (PATH_MAX less the final NUL).
	MaxTarget = 4095

	// MaxDepth is the greatest number of directories inside one another, the
	// root included. Nix names every node by one path of at most MaxTarget
	// bytes, and a step down takes at least two of them.
	MaxDepth = 2048

	// CommonDepth is the greatest number of nodes inside one another, the root
	// included, that every Nix takes. Nix 2.34 refuses more ("NAR directory
	// nesting exceeds maximum depth of 64"), 2.26 and older do not.
	CommonDepth = 64
)
