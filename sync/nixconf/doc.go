// Package nixconf reads and edits the files that tell a Nix which caches to use:
// nix.conf, and netrc with the passwords. It contacts nothing, and knows no trees.
//
// It reads them as Nix does, with every include, from the system's file to the
// user's own and $NIX_CONFIG. It edits them by marked blocks, each named after what
// it is for: all else in a file stays as it is to the byte, and a block that is
// removed leaves the file as it was before.
//
// An edit is atomic, and excludes other edits by this package. A reader sees the
// old file or the new one.
//
// Sources: the manual's nix.conf(5), globals.cc and config.cc (later configuration.cc)
// of Nix; the netrc parser of curl, which Nix reads netrc with.
package nixconf
