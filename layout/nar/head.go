package nar

import (
	"encoding/binary"
	"strings"
)

// Head returns the bytes of an archive that stand right before the content of the
// file that a listing tells of: at least its size, and as much before that as the
// listing says, with the name of its entry. Name is "" for the root. A reader that
// begins in the middle of an archive can compare them.
func (n *Node) Head(name string) []byte {
	var b []byte
	switch {
	case name == "":
		b = append(b, tokMagic+tokOpen+tokType...)
	case !strings.Contains(name, "\uFFFD"):
		b = append(b, tokEntry+tokOpen+tokName...)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(name)))
		b = append(b, name...)
		b = append(b, zeros[:padding(int64(len(name)))]...)
		fallthrough
	default: // which bytes stand in the name is not known
		b = append(b, tokNode+tokOpen+tokType...)
	}
	b = append(b, tokRegular...)
	if n.Executable {
		b = append(b, tokExecutable+tokEmpty...)
	}
	b = append(b, tokContents...)
	return binary.LittleEndian.AppendUint64(b, uint64(n.Size))
}

// Text returns a name or target as listings have it: with a U+FFFD for each byte that
// is not part of valid UTF-8.
func Text(s string) string { return text(s) }
