// Package forge keeps a tree in the generic package registry of a Gitea or Forgejo.
//
// A version of a package is a set of files, which clients read at
//
//	https://HOST/api/packages/OWNER/generic/PACKAGE/VERSION/NAME
//
// A Nix takes that URL, without the name, for a binary cache. Names have no slash, so
// that NARs lie beside the narinfos: nar/X is called X, and the URL field of a record that
// is put says so, which no signature covers. A record that is read says nar/X again. Other
// folders have an ampersand in the place of the slash, and so no Nix finds them; they are
// kept for the tree that the registry is a copy of.
//
// The registry knows two conditions: a name is taken (409), or not there (404). A file
// that is replaced is gone for a moment.
package forge
