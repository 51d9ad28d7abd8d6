package nar

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// An encoder is a Visitor that writes the archive it is told of, from the grammar
// in the package comment and nothing else of the package.
type encoder struct {
	bytes.Buffer
	depth int
	left  int64 // of the current file
	size  int64
	bad   []string // what a Parser must never do
}

func (e *encoder) num(n uint64) { e.Write(binary.LittleEndian.AppendUint64(nil, n)) }

func (e *encoder) str(words ...string) {
	for _, s := range words {
		e.num(uint64(len(s)))
		e.WriteString(s)
		e.Write(make([]byte, (8-len(s)%8)%8))
	}
}

func (e *encoder) begin(name string) {
	if e.left != 0 {
		e.bad = append(e.bad, "node before the end of the content")
	}
	if e.depth == 0 {
		if e.Len() > 0 {
			e.bad = append(e.bad, "second root")
		}
		if name != "" {
			e.bad = append(e.bad, "root has a name")
		}
		e.str("nix-archive-1", "(", "type")
		return
	}
	e.str("entry", "(", "name", name, "node", "(", "type")
}

func (e *encoder) end() {
	e.str(")")
	if e.depth > 0 {
		e.str(")")
	}
}

func (e *encoder) Enter(name string) error {
	e.begin(name)
	e.depth++
	e.str("directory")
	return nil
}

func (e *encoder) Leave() error {
	e.depth--
	e.end()
	return nil
}

func (e *encoder) Regular(name string, executable bool, size, offset int64) error {
	e.begin(name)
	e.str("regular")
	if executable {
		e.str("executable", "")
	}
	e.str("contents")
	e.num(uint64(size))
	if offset >= 0 && int64(e.Len()) != offset {
		e.bad = append(e.bad, "wrong offset")
	}
	e.left, e.size = size, size
	if size == 0 {
		e.end()
	}
	return nil
}

func (e *encoder) Content(p []byte) error {
	e.left -= int64(len(p))
	e.Write(p)
	if len(p) == 0 || e.left < 0 {
		e.bad = append(e.bad, "empty or too much content")
	}
	if e.left == 0 {
		e.Write(make([]byte, (8-e.size%8)%8))
		e.end()
	}
	return nil
}

func (e *encoder) Symlink(name, target string) error {
	e.begin(name)
	e.str("symlink", "target", target)
	e.end()
	return nil
}

// encode returns the archive that a walk tells of.
func encode(walk func(v Visitor)) []byte {
	var e encoder
	walk(&e)
	return e.Bytes()
}

// parse pushes b through a Parser in pieces of n bytes, or at once if n is 0.
func parse(b []byte, n int, v Visitor) error {
	p := NewParser(v)
	if n == 0 {
		n = max(len(b), 1)
	}
	for len(b) > 0 {
		piece := b[:min(n, len(b))]
		if _, err := p.Write(piece); err != nil {
			return err
		}
		b = b[len(piece):]
	}
	return p.Close()
}

// reencode parses b and returns the encoding of what the parser told.
func reencode(t *testing.T, b []byte, n int) ([]byte, error) {
	t.Helper()
	var e encoder
	err := parse(b, n, &e)
	if len(e.bad) > 0 {
		t.Errorf("visitor was told nonsense: %q", e.bad)
	}
	return e.Bytes(), err
}
