package nar

import (
	"encoding/binary"
	"math"
)

// A state is a place in the grammar, named after what stands there.
type state uint8

const (
	atMagic      state = iota // "nix-archive-1" "(" "type"
	atObject                  // "regular", "symlink" or "directory"
	atRegular                 // "contents", or "executable" and more
	atSize                    // the length of the contents
	inContent                 // the contents
	afterContent              // the padding of the contents, then ")"
	atTarget                  // "target"
	inTarget                  // the target
	afterTarget               // ")"
	atEntry                   // "entry", or ")" for the end of a directory
	atName                    // "(" "name"
	inName                    // the name
	atNode                    // "node" "(" "type"
	afterNode                 // ")" for the end of an entry
	atEnd                     // nothing
)

var stateNames = [...]string{
	atMagic:      "the start of an archive",
	atObject:     `"regular", "symlink" or "directory"`,
	atRegular:    `"contents" or "executable"`,
	atSize:       "the size of a file",
	inContent:    "the contents of a file",
	afterContent: `")" after the contents of a file`,
	atTarget:     `"target"`,
	inTarget:     "the target of a symbolic link",
	afterTarget:  `")" after the target of a symbolic link`,
	atEntry:      `"entry" or ")"`,
	atName:       `"(" and "name"`,
	inName:       "the name of an entry",
	atNode:       `"node", "(" and "type"`,
	afterNode:    `")" after an entry`,
	atEnd:        "the end of the archive",
}

func (s state) String() string { return stateNames[s] }

const execToken = tokExecutable + tokEmpty + tokContents

// step interprets the unit at the start of b and returns its length, or 0 after
// setting need if b is too short to hold it. Its choice depends on the first need
// bytes alone, so that a cut makes no difference.
func (p *Parser) step(b []byte) (int, error) {
	switch p.state {
	case atMagic:
		return p.literal(b, tokMagic+tokOpen+tokType, atObject)
	case atObject:
		return p.object(b)
	case atRegular:
		return p.regular(b)
	case atSize:
		return p.size(b)
	case afterContent:
		return p.endContent(b)
	case atTarget:
		return p.literal(b, tokTarget, inTarget)
	case inTarget:
		return p.target(b)
	case afterTarget:
		return p.endNode(b)
	case atEntry:
		return p.entry(b)
	case atName:
		return p.literal(b, tokOpen+tokName, inName)
	case inName:
		return p.name(b)
	case atNode:
		return p.literal(b, tokNode+tokOpen+tokType, atObject)
	case afterNode:
		return p.literal(b, tokClose, atEntry)
	}
	return 0, p.fail(0, "bytes after the end of the archive")
}

// has reports whether b holds n bytes, and asks for them if not.
func (p *Parser) has(b []byte, n int) bool {
	if len(b) < n {
		p.need = n
		return false
	}
	return true
}

// literal interprets the one thing that may stand here.
func (p *Parser) literal(b []byte, lit string, next state) (int, error) {
	if !p.has(b, len(lit)) {
		return 0, nil
	}
	if string(b[:len(lit)]) != lit {
		return 0, p.unexpected(b, lit)
	}
	p.state = next
	return len(lit), nil
}

// unexpected blames the first byte of b that differs from lit, which stands for
// all that could be here.
func (p *Parser) unexpected(b []byte, lit string) error {
	i := 0
	for i < len(lit) && b[i] == lit[i] {
		i++
	}
	return p.fail(i, "expected %s", p.state)
}

// object interprets the kind of a node. The shortest kind takes 16 bytes.
func (p *Parser) object(b []byte) (int, error) {
	const short = len(tokRegular)
	if !p.has(b, short) {
		return 0, nil
	}
	p.deepest = max(p.deepest, len(p.names)+1)
	switch string(b[:short]) {
	case tokRegular:
		p.state = atRegular
		return short, nil
	case tokSymlink:
		p.state = atTarget
		return short, nil
	case tokDirectory[:short]:
		if !p.has(b, len(tokDirectory)) {
			return 0, nil
		}
		if string(b[:len(tokDirectory)]) != tokDirectory {
			return 0, p.unexpected(b, tokDirectory)
		}
		if len(p.names) == MaxDepth {
			return 0, p.fail(0, "more than %d directories inside one another", MaxDepth)
		}
		if err := p.v.Enter(p.current()); err != nil {
			return 0, err
		}
		p.names = append(p.names, "")
		p.state = atEntry
		return len(tokDirectory), nil
	}
	return 0, p.fail(0, "expected %s", p.state)
}

// current returns the name of the node that the parser is in.
func (p *Parser) current() string {
	if len(p.names) == 0 {
		return ""
	}
	return p.names[len(p.names)-1]
}

func (p *Parser) regular(b []byte) (int, error) {
	const short = len(tokContents)
	if !p.has(b, short) {
		return 0, nil
	}
	switch string(b[:short]) {
	case tokContents:
		p.exec = false
		p.state = atSize
		return short, nil
	case execToken[:short]:
		n, err := p.literal(b, execToken, atSize)
		p.exec = n > 0
		return n, err
	}
	return 0, p.fail(0, "expected %s", p.state)
}

func (p *Parser) size(b []byte) (int, error) {
	if !p.has(b, lenSize) {
		return 0, nil
	}
	size, offset := binary.LittleEndian.Uint64(b), p.off+lenSize
	// Offsets within the file must fit as well.
	if size > uint64(math.MaxInt64-offset) {
		return 0, p.fail(0, "size %d of a file is out of range", size)
	}
	if err := p.v.Regular(p.current(), p.exec, int64(size), offset); err != nil {
		return 0, err
	}
	p.left, p.pad = int64(size), padding(int64(size))
	if p.state = inContent; size == 0 {
		p.state = afterContent
	}
	return lenSize, nil
}

func (p *Parser) endContent(b []byte) (int, error) {
	if !p.has(b, p.pad) {
		return 0, nil
	}
	if string(b[:p.pad]) != zeros[:p.pad] {
		return 0, p.fail(0, "padding of the contents is not zero")
	}
	if pad := p.pad; pad > 0 {
		p.pad = 0
		return pad, nil
	}
	return p.endNode(b)
}

// endNode interprets the ")" of a file or symbolic link.
func (p *Parser) endNode(b []byte) (int, error) {
	return p.literal(b, tokClose, p.outside())
}

// outside returns the state after the end of a node.
func (p *Parser) outside() state {
	if len(p.names) == 0 {
		return atEnd
	}
	return afterNode
}

func (p *Parser) entry(b []byte) (int, error) {
	const short = len(tokEntry)
	if !p.has(b, short) {
		return 0, nil
	}
	switch string(b[:short]) {
	case tokEntry:
		p.state = atName
		return short, nil
	case tokClose:
		p.names = p.names[:len(p.names)-1]
		p.state = p.outside()
		return short, p.v.Leave()
	}
	return 0, p.fail(0, "expected %s", p.state)
}
