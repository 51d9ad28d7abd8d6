// Package doctor finds out why a Nix builds what is in a cache. It looks at the
// settings of this machine, at the cache, and at what the client remembers of it, in
// the order in which things go wrong. It changes nothing.
//
// A check has a name, what it does, and why that matters. It finds faults, each with
// an identifier, a sentence, and a command that cures it; what it cannot find out is
// told apart from what is right. Beside cmd/nixstatic this is the one package that
// words what people read, since a fault is nothing but its description.
package doctor
