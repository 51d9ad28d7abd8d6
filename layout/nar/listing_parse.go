package nar

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
)

// ParseListing reads a listing of at most limit bytes, and r to its end. It accepts
// what Nix 2.3 to 2.36 write: keys in any order, "executable" and "narOffset" left
// out for false and 0. Keys it does not know are skipped, since they may be those of
// a later Nix; keys of another type of node, null nodes, types or versions that do
// not exist, and names that cannot be in a NAR are errors.
//
// Memory is a small multiple of what is read.
func ParseListing(r io.Reader, limit int64) (*Node, error) {
	root, _, err := ParseSeekable(r, limit)
	return root, err
}

// ParseSeekable is ParseListing, and returns what the listing says of the frames of the
// NAR's file, nil if it says nothing.
func ParseSeekable(r io.Reader, limit int64) (*Node, *Seek, error) {
	b, err := io.ReadAll(io.LimitReader(r, min(limit, math.MaxInt64-1)+1))
	if err != nil {
		return nil, nil, fmt.Errorf("parse listing: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, nil, fmt.Errorf("parse listing: longer than %d bytes", limit)
	}
	// Once all is known to be JSON, it is enough to look for what a listing has.
	var whole json.RawMessage
	if err := json.Unmarshal(b, &whole); err != nil {
		return nil, nil, fmt.Errorf("parse listing: %w", err)
	}
	c := cursor{json: b}
	root, seek, err := c.document()
	if err != nil {
		return nil, nil, fmt.Errorf("parse listing: byte %d: %w", c.at, err)
	}
	return root, seek, nil
}

func (c *cursor) document() (root *Node, seek *Seek, err error) {
	var version *int64
	err = c.object(func(key string) error {
		switch key {
		case "root":
			if root != nil {
				return errTwice(key)
			}
			root, err = c.node(0)
			return err
		case "version":
			if version != nil {
				return errTwice(key)
			}
			v, err := c.integer(key)
			version = &v
			return err
		case "seek":
			if seek != nil {
				return errTwice(key)
			}
			c.next()
			start := c.at
			c.skip()
			seek, err = parseSeek(c.json[start:c.at])
			return err
		}
		c.skip()
		return nil
	})
	switch {
	case err != nil:
		return nil, nil, err
	case version == nil || *version != 1:
		return nil, nil, errors.New("not a listing of version 1")
	case root == nil:
		return nil, nil, errors.New("no root")
	}
	return root, seek, nil
}

// A field is a set of keys of a node.
type field uint8

const (
	fieldType field = 1 << iota
	fieldSize
	fieldExecutable
	fieldNarOffset
	fieldTarget
	fieldEntries
)

var fields = map[string]field{
	"type": fieldType, "size": fieldSize, "executable": fieldExecutable,
	"narOffset": fieldNarOffset, "target": fieldTarget, "entries": fieldEntries,
}

// must and may are the fields of each type of node.
var (
	must = map[Type]field{
		TypeDirectory: fieldType | fieldEntries,
		TypeRegular:   fieldType | fieldSize,
		TypeSymlink:   fieldType | fieldTarget,
	}
	may = map[Type]field{
		TypeDirectory: must[TypeDirectory],
		TypeRegular:   must[TypeRegular] | fieldExecutable | fieldNarOffset,
		TypeSymlink:   must[TypeSymlink],
	}
)

// node reads a node that has depth directories around it.
func (c *cursor) node(depth int) (*Node, error) {
	n, have := new(Node), field(0)
	err := c.object(func(key string) (err error) {
		f := fields[key]
		if have&f != 0 {
			return errTwice(key)
		}
		have |= f
		switch f {
		case fieldType:
			var s string
			s, err = c.text(key)
			n.Type = Type(s)
		case fieldSize:
			n.Size, err = c.integer(key)
		case fieldExecutable:
			n.Executable, err = c.boolean(key)
		case fieldNarOffset:
			n.NarOffset, err = c.integer(key)
		case fieldTarget:
			n.Target, err = c.text(key)
		case fieldEntries:
			n.Entries, err = c.entries(depth)
		default:
			c.skip()
		}
		return err
	})
	if err == nil {
		err = n.check(have)
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// check reports what is wrong with a node that was read with these fields.
func (n *Node) check(have field) error {
	need, known := must[n.Type]
	switch {
	case have&fieldType == 0:
		return errors.New("node without a type")
	case !known:
		return fmt.Errorf("node of unknown type %.40q", n.Type)
	case have&need != need:
		return fmt.Errorf("%s node without %s", n.Type, need&^have)
	case have&^may[n.Type] != 0:
		return fmt.Errorf("%s node with %s", n.Type, have&^may[n.Type])
	case n.Type == TypeSymlink && (n.Target == "" || textLen(n.Target) > MaxTarget || strings.IndexByte(n.Target, 0) >= 0):
		return fmt.Errorf("illegal target %.40q of a symbolic link", n.Target)
	case n.Size > math.MaxInt64-n.NarOffset:
		return errors.New("file ends out of range")
	}
	return nil
}

// entries reads the entries of a directory that has depth directories around it.
func (c *cursor) entries(depth int) (map[string]*Node, error) {
	if depth == MaxDepth {
		return nil, fmt.Errorf("more than %d directories inside one another", MaxDepth)
	}
	entries := map[string]*Node{}
	err := c.object(func(name string) error {
		if err := checkListedName(name); err != nil {
			return err
		}
		// Names that differ in bytes that JSON cannot carry are equal here.
		if entries[name] != nil && !strings.Contains(name, "\uFFFD") {
			return errTwice(name)
		}
		n, err := c.node(depth + 1)
		entries[name] = n
		return err
	})
	return entries, err
}

// checkListedName refuses what no entry of a NAR can be called.
func checkListedName(name string) error {
	if name == "" || textLen(name) > MaxName || !validName(name) {
		return fmt.Errorf("illegal name %.40q", name)
	}
	return nil
}

// textLen returns the least number of bytes that s can have had in the NAR.
func textLen(s string) int {
	return len(s) - strings.Count(s, "\uFFFD")*(len("\uFFFD")-1)
}

// String names one of the fields, in quotes.
func (f field) String() string {
	for key, one := range fields {
		if f&one != 0 {
			return `"` + key + `"`
		}
	}
	return "nothing"
}

func errTwice(key string) error { return fmt.Errorf("%.40q stands twice", key) }
