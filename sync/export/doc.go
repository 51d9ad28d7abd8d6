// Package export brings store paths from a source into a tree.
//
// A Source has store paths: the local Nix store (package nixstore), or another
// binary cache (Cache). A Run takes the closure of some of them through a
// layout.Writer into a tree:
//
//	source → plan: what of the closure does the tree lack?
//	       → pack: several paths side by side, each in one pass
//	       → publish: in the order of references, in batches
//
// Sources only answer. Nothing they say is written before layout has checked the
// bytes, and the Run the signatures.
package export
