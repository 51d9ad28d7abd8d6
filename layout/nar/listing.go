package nar

import (
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Type is the kind of a node, as listings spell it.
type Type string

// The kinds of nodes.
const (
	TypeDirectory Type = "directory"
	TypeRegular   Type = "regular"
	TypeSymlink   Type = "symlink"
)

// A Node is a node of a listing: what a NAR holds, without the contents.
//
// Names and targets are as JSON can carry them: each byte that is not part of valid
// UTF-8 stands as U+FFFD. If names become equal by that, the last in the archive's
// order stays.
type Node struct {
	Type       Type
	Size       int64            // of a regular file, in bytes
	Executable bool             // of a regular file
	NarOffset  int64            // of a regular file's first byte in the NAR; 0 if not told
	Target     string           // of a symbolic link
	Entries    map[string]*Node // of a directory, never nil there
}

// EqualListing reports whether two listings say the same, however they were spelt.
func EqualListing(a, b *Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Type != b.Type || a.Size != b.Size || a.Executable != b.Executable ||
		a.NarOffset != b.NarOffset || a.Target != b.Target || len(a.Entries) != len(b.Entries) {
		return false
	}
	for name, node := range a.Entries {
		other, ok := b.Entries[name]
		if !ok || !EqualListing(node, other) {
			return false
		}
	}
	return true
}

// Walk tells v of the node and all within it, in the order of the NAR. A listing
// has no content to tell of. Walk(NewListingWriter(w)) writes the listing anew.
func (n *Node) Walk(v Visitor) error { return n.walk("", v) }

func (n *Node) walk(name string, v Visitor) error {
	switch n.Type {
	case TypeRegular:
		return v.Regular(name, n.Executable, n.Size, n.NarOffset)
	case TypeSymlink:
		return v.Symlink(name, n.Target)
	}
	if err := v.Enter(name); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(n.Entries)) {
		if err := n.Entries[name].walk(name, v); err != nil {
			return err
		}
	}
	return v.Leave()
}

// text returns s with a U+FFFD for each byte that is not part of valid UTF-8, as
// JSON decoders read it. (strings.ToValidUTF8 makes one of a whole run.)
func text(s string) string {
	return strings.Map(func(r rune) rune { return r }, s)
}

// largeListing is the size from which one listing is parsed at a time, in bytes: it
// takes a multiple of that in memory.
const largeListing = 4 << 20

var oneListing sync.Mutex

// ListingTurn waits until no other large listing is parsed, and returns what ends the
// turn. A negative size is one that is not known.
func ListingTurn(size int64) (done func()) {
	if 0 <= size && size < largeListing {
		return func() {}
	}
	oneListing.Lock()
	return oneListing.Unlock
}
