// Package netx is what a reader of a web server and a user of an object store
// have in common: the client that asks, pauses between attempts, and bodies that
// are gone on with where they broke off.
package netx
