// Package browser tests the page for browsers in a real Chromium, from a server of
// ours, from nginx and from a bucket. It is a module of its own, so that the library
// that drives Chromium is none of nixstatic's dependencies.
package browser
