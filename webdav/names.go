package webdav

import (
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxProps bounds the properties that a request names, and maxNames the bytes of
	// what is said of those that are not known here.
	maxProps = 64
	maxNames = 1 << 10
	// maxSpaces bounds the bytes of their namespaces, which are said once.
	maxSpaces = 4 << 10
)

// names are properties that a client named, to be said again in the answer.
type names struct {
	all    []xml.Name
	spaces []string // their numbers are the prefixes in the answer
	size   int      // bytes of all
}

// add takes a name that can be said again.
func (n *names) add(name xml.Name) error {
	if !echoable(name.Local) {
		return errors.New("not well-formed XML")
	}
	n.all = append(n.all, name)
	if n.size += len(name.Local) + len(`<x00:/>`); n.size > maxNames {
		return fmt.Errorf("unknown properties with names of more than %d bytes", maxNames)
	}
	if !slices.Contains(n.spaces, name.Space) {
		n.spaces = append(n.spaces, name.Space)
	}
	if len(strings.Join(n.spaces, "")) > maxSpaces {
		return fmt.Errorf("namespaces of more than %d bytes", maxSpaces)
	}
	return nil
}

// declare appends the namespaces of all names to the tag that is open.
func (n *names) declare(b []byte) []byte {
	for i, space := range n.spaces {
		if space != "" {
			b = append(appendText(fmt.Appendf(b, ` xmlns:x%d="`, i), space), '"')
		}
	}
	return b
}

// say appends an empty element of that name.
func (n *names) say(b []byte, name xml.Name) []byte {
	if name.Space == "" { // a prefix cannot stand for it
		return append(append(append(b, '<'), name.Local...), ` xmlns=""/>`...)
	}
	return fmt.Appendf(b, "<x%d:%s/>", slices.Index(n.spaces, name.Space), name.Local)
}

// echoable reports whether a name stands in XML behind a prefix of ours. The
// decoder lets pass what only the prefix that it came with made one, or not
// even that, such as ":" and "a:1".
func echoable(local string) bool {
	first, _ := utf8.DecodeRuneInString(local)
	return (first == '_' || unicode.IsLetter(first)) && !strings.Contains(local, ":")
}
