// Package fsck reads a tree and says where it is wrong. It never writes.
//
// Two things keep its word good:
//
//   - "Wrong" and "could not tell" are different answers (I5): a
//     [Problem] is a fact about the tree, an error is about reading it. Before an
//     object is called missing the tree was asked for it by name.
//   - The tree may be in use. Objects that are published or withdrawn meanwhile, in
//     the order that I2 and I3 ask for, are not problems: a record is read again before
//     it is blamed.
//
// Some findings are notes, not problems: things that a crash may leave, which the
// next garbage collection removes, and files that are not of the tree.
//
// A quick check lists the tree once and reads all that is small. A deep check
// then reads every NAR, each once however many paths share it, decompresses it
// within the bounds of its record, and compares all that is said of it.
// Memory is some 200 bytes for a path and its NAR, and what the decompression
// of Jobs NARs takes.
package fsck
