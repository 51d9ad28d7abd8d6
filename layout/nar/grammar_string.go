package nar

import (
	"encoding/binary"
	"strings"
)

// name interprets the name of an entry.
func (p *Parser) name(b []byte) (int, error) {
	s, n, err := p.str(b, MaxName)
	if n == 0 {
		return 0, err
	}
	name, last := string(s), &p.names[len(p.names)-1]
	if !validName(name) {
		return 0, p.fail(0, "illegal name %.99q", name)
	}
	switch strings.Compare(name, *last) {
	case 0:
		return 0, p.fail(0, "name %.99q stands twice", name)
	case -1:
		return 0, p.fail(0, "name %.99q stands after %.99q", name, *last)
	}
	*last = name
	p.state = atNode
	return n, nil
}

// validName reports whether a non-empty name can be that of a directory's entry.
func validName(name string) bool {
	return name != "." && name != ".." &&
		strings.IndexByte(name, '/') < 0 && strings.IndexByte(name, 0) < 0
}

// str returns the bytes of a string of 1 to most bytes and the length of its
// encoding, or 0 if it is not whole or not valid.
func (p *Parser) str(b []byte, most int) ([]byte, int, error) {
	if !p.has(b, lenSize) {
		return nil, 0, nil
	}
	size := binary.LittleEndian.Uint64(b)
	if size == 0 || size > uint64(most) {
		return nil, 0, p.fail(0, "length %d of %s is not in 1..%d", size, p.state, most)
	}
	end := lenSize + int(size)
	pad := padding(int64(size))
	if !p.has(b, end+pad) {
		return nil, 0, nil
	}
	if string(b[end:end+pad]) != zeros[:pad] {
		return nil, 0, p.fail(end, "padding of %s is not zero", p.state)
	}
	return b[lenSize:end], end + pad, nil
}

// target interprets the target of a symbolic link.
func (p *Parser) target(b []byte) (int, error) {
	s, n, err := p.str(b, MaxTarget)
	if n == 0 {
		return 0, err
	}
	target := string(s)
	if strings.IndexByte(target, 0) >= 0 {
		return 0, p.fail(0, "target of a symbolic link holds a NUL")
	}
	p.state = afterTarget
	return n, p.v.Symlink(p.current(), target)
}
