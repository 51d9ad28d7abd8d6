// Package inbox holds the rules of uploading: what is done with an object that
// a client sends, and what has to be true before anyone else sees it.
//
// Clients send the files of a cache one by one, each in an order of its own.
// Nix up to 2.34 sends the listing, the links to debug files, the NAR and the
// narinfo of one path after the other, references first; Nix from 2.35 sends
// all NARs first, the narinfos minutes later; a program that copies files
// sends them in any order. The rules are the same for all:
//
//   - A NAR is read once, while it streams in: hashed, decompressed within
//     limits, checked against the grammar, listed. It appears if its bytes are
//     what its name says (I1). Nothing leads to it yet.
//   - A narinfo appears last (I2): when its NAR is there and is what it says,
//     when all its references are there (I3), when its signatures and content
//     address hold. It gains our signatures. Its listing and links to debug files
//     appear before it. They are ours: what the client sends of them is compared
//     with the NAR, as it streams by, and refused if it differs.
//   - A narinfo of a path that is there already is merged: signatures are added,
//     nothing else changes. A narinfo with other content is refused.
//   - A build log stays, and so does a debug link whose NAR is there.
//   - A refused upload changes nothing.
//
// A narinfo is placed in three steps: examine reads what is true of the tree,
// decide depends on that alone, apply writes.
//
// A listing or a debug link that comes before its narinfo is held in memory. A
// narinfo that comes before its NAR or its references is refused if the client is
// a Nix (Options.Strict), which never does that; otherwise it is held in the
// tree, below .nixstatic/held, and appears as soon as nothing is missing. Held
// objects have a budget, of which each client has a share, and are dropped after
// a day. No client sees or displaces what another has held, or pays for its
// publication. NARs that no narinfo leads to are not held: they are in the tree,
// and count where a disk is to keep some room.
//
// The tree is the only truth. An Inbox's memory of the NARs that came by is
// bounded, may be forgotten at any time, and is believed only as long as the tree
// shows the very same object; otherwise the NAR is read from the tree again. So
// an Inbox may be closed and opened between any two uploads, several processes
// may use one tree, and files may come and go behind its back.
//
// There are exceptions to reading a NAR once. A content address is proved from
// what the one pass found if it is the SHA-256 of the NAR or of a single file;
// any other address needs the bytes again, and they are read from the tree.
package inbox
