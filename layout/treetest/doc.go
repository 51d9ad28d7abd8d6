// Package treetest holds what tests of trees share.
//
//   - [Test] is the conformance suite: whatever passes it is a layout.Tree.
//   - [Mem] is a tree in memory that fails a test whose code breaks the invariants
//     I1 to I4, at the step that breaks them, and counts operations.
//   - [Faulty] is a tree that fails on purpose, at a chosen operation, either
//     before it happened or after.
//   - [Closure] is a small closure of store paths with real NARs, made to hold
//     one of each kind of path there is.
//
// It is for test files only.
package treetest
