// Package lock sees to it that one process at a time removes objects from a tree,
// or relies on objects that another might remove.
//
// In a directory the lock is a file with a flock, which ends with the process. In
// a bucket it is a lease: an object that its holder renews by conditional PUTs,
// and that is free a minute after the last one, or seconds after its holder died
// on the same machine.
package lock
