//go:build !real

// Package quick makes the tests of make unit try some of the cases that those of make
// test try all of.
package quick

// All reports whether each case is tried. Those of make unit leave out the cases that take
// longest.
const All = false

// Step returns n: a test of make unit tries one case of so many.
func Step(n int) int { return n }
