// Package sync moves what trees are made of from one place to another.
//
// A Source has store paths: the local Nix store (package nixstore), or another
// binary cache (Cache). An Import takes the closure of some of them through a
// layout.Writer into a tree:
//
//	source → plan: what of the closure does the tree lack?
//	       → pack: several paths side by side, each in one pass
//	       → publish: in the order of references, in batches
//
// Sources only answer; nothing they say is written before layout has checked
// the bytes, and the Import the signatures.
package sync
