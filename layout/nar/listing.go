package nar

import (
	"maps"
	"slices"
	"strings"
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

// A Builder is a Visitor that keeps the listing of the NAR in memory. Its zero
// value is ready.
type Builder struct {
	root *Node
	dirs []*Node
}

// Root returns the listing, complete once the Parser is closed, or nil before the
// first node.
func (b *Builder) Root() *Node { return b.root }

// Enter adds a directory.
func (b *Builder) Enter(name string) error {
	n := &Node{Type: TypeDirectory, Entries: map[string]*Node{}}
	b.add(name, n)
	b.dirs = append(b.dirs, n)
	return nil
}

// Leave ends a directory.
func (b *Builder) Leave() error {
	b.dirs = b.dirs[:len(b.dirs)-1]
	return nil
}

// Regular adds a file.
func (b *Builder) Regular(name string, executable bool, size, offset int64) error {
	b.add(name, &Node{Type: TypeRegular, Size: size, Executable: executable, NarOffset: offset})
	return nil
}

// Content does nothing: a listing tells where contents are, not what they are.
func (b *Builder) Content([]byte) error { return nil }

// Symlink adds a symbolic link.
func (b *Builder) Symlink(name, target string) error {
	b.add(name, &Node{Type: TypeSymlink, Target: text(target)})
	return nil
}

func (b *Builder) add(name string, n *Node) {
	if len(b.dirs) == 0 {
		b.root = n
		return
	}
	b.dirs[len(b.dirs)-1].Entries[text(name)] = n
}

// text returns s with a U+FFFD for each byte that is not part of valid UTF-8, as
// JSON decoders read it. (strings.ToValidUTF8 makes one of a whole run.)
func text(s string) string {
	return strings.Map(func(r rune) rune { return r }, s)
}
