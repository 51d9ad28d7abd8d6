//go:build real

// Package quick makes the tests of make unit try some of the cases that those of make
// test try all of.
package quick

// All reports whether each case is tried: those of make test leave out none.
const All = true

// Step returns 1: a test of make test tries each case.
func Step(int) int { return 1 }
