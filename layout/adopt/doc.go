// Package adopt makes a checked tree of what another program left: a directory that nix
// copy wrote, a bucket of another cache.
//
// Each NAR is read once and compared with its record; the listing is written, the record
// gains what it lacks, and a NAR whose name is not the hash of its file gets that name.
// Objects that are wrong go into the quarantine of the tree, with all that refers to
// them, and are told.
//
// Readers meet a whole tree throughout: a NAR is at its new name before the record
// leads there, and stays at the old one until gc finds it unused (I2); a path goes
// before those that it refers to (I3). A run that dies is gone on with by the next.
package adopt
