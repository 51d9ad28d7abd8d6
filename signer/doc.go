// Package signer holds keys: it makes signatures over fingerprints and decides
// which signatures to believe. It knows nothing of store paths, trees or files
// other than key files, so that it can be audited in one sitting.
//
// The formats are Nix's own: a key or signature is "name:base64", where the
// payload is an Ed25519 seed and public key (64 bytes), a public key (32 bytes),
// or a detached signature (64 bytes). A signature is of the fingerprint that
// layout.PathInfo.Fingerprint computes.
//
// A SecretKey never prints its secret half: its String, its %#v and its log
// value all show the name alone.
package signer
