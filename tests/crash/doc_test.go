//go:build linux && real

// Package crash holds nixstatic to its word that a tree is never wrong in
// between. It uses the program as people do, and does to it what machines do:
//
//   - It is killed before each single system call that changes the tree, and
//     each of these calls fails once with EIO and once with ENOSPC, without
//     having happened and after having happened.
//   - The power goes, at each instant of a run, and takes along what was not
//     brought to disk by then: of a file its content, of a directory its names.
//   - Both while it is a server that takes what Nix uploads. An object that a
//     client was told is stored has to outlast a power cut from that instant on.
//   - The disk is full, has no inodes left, is read-only, or belongs to another
//     user.
//   - Other exporters work in the same tree and are killed.
//   - The tree cannot be read at one place.
//   - The source lies, or is far larger than it says.
//
// After each of these `nixstatic verify --deep` must find nothing but
// unreferenced files, and the next run must complete the tree. Memory is
// measured on what is large or many.
//
// The system calls are reached through ptrace and not through strace --inject,
// which counts the calls of each thread by itself: in a Go program that is
// neither repeatable nor does it reach every call. A test shows that both see the
// same calls.
//
// Linux alone has what this takes. Root is not needed: where we are not, the
// tests that mount file systems take a user namespace.
package crash
