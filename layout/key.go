package layout

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Key names an object of a tree: a clean, relative, slash-separated path.
// Only ParseKey and the constructors below make one, so that a Key can be
// joined to a directory or put into a URL without a second look.
type Key string

// maxKey is the limit of object stores; no directory sets a tighter one.
const maxKey = 1024

// CacheInfoKey is where a client looks first.
const CacheInfoKey Key = "nix-cache-info"

// ParseKey reads a key. It refuses what could leave the tree or be understood
// in two ways: empty, "." and ".." components, control characters,
// backslashes, and text that is not UTF-8. It does not decode anything.
func ParseKey(s string) (Key, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("key: empty")
	case len(s) > maxKey:
		return "", fmt.Errorf("key %.60q…: more than %d bytes", s, maxKey)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("key %q: not UTF-8", s)
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("key %q: has an empty or dot component", s)
		}
	}
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f || c == '\\' {
			return "", fmt.Errorf("key %q: has a control character or a backslash", s)
		}
	}
	return Key(s), nil
}

// NarInfoKey is where the narinfo of p is.
func NarInfoKey(p StorePath) Key { return NarInfoKeyOf(p.Hash()) }

// ListingKey is where the listing of p's NAR is.
func ListingKey(p StorePath) Key { return ListingKeyOf(p.Hash()) }

// NarInfoKeyOf is where the narinfo of the path with a hash is.
func NarInfoKeyOf(hash string) Key { return Key(hash + ".narinfo") }

// ListingKeyOf is where the listing of that path's NAR is.
func ListingKeyOf(hash string) Key { return Key(hash + ".ls") }

// LogKey is where the build log of a derivation is.
func LogKey(drv StorePath) Key { return Key(LogFolder + string(drv)) }

// NARKey is where a NAR is whose compressed file hashes to file; ext is
// compress.Method.Extension's.
func NARKey(file Hash, ext string) Key { return Key(NARFolder + file.Nix32() + ".nar" + ext) }

// PathHash returns the 32 characters that a .narinfo or .ls key begins with,
// and "" for every other key.
func (k Key) PathHash() string {
	hash, ext, _ := strings.Cut(string(k), ".")
	if (ext == "narinfo" || ext == "ls") && checkHash(hash) == nil {
		return hash
	}
	return ""
}

// LogKeys returns the keys under which a log is to stand: its own, and for a
// name with a question mark the part before it too, which is all that reaches
// a web server of what a client asks for.
func LogKeys(drv StorePath) []Key {
	keys := []Key{LogKey(drv)}
	if before, _, ok := strings.Cut(string(drv), "?"); ok {
		keys = append(keys, Key(LogFolder+before))
	}
	return keys
}
