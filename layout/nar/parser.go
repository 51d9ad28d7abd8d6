package nar

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Parser is an io.WriteCloser that checks a NAR while its bytes are written to
// it, in pieces of any size, and tells a Visitor of each node as soon as it is
// known. How the bytes are cut does not change what the Visitor is told, but for
// the cuts between calls of Content.
//
// Contents are passed on without a copy. Memory is one name per open directory
// and at most one string that a cut went through.
type Parser struct {
	v     Visitor
	state state
	off   int64 // of the first byte not yet interpreted
	left  int64 // of the current file's content
	pad   int   // after the current file's content
	exec  bool  // the current file is executable

	// names holds, for each open directory, the name of its current or last
	// entry, "" before the first.
	names   []string
	deepest int // nodes inside one another so far

	// A unit is what one step needs to see whole. A unit that is cut is gathered
	// in hold until it has need bytes; hold is empty otherwise.
	hold []byte
	need int

	closed bool
	err    error // sticky
}

// NewParser returns a Parser at the start of an archive. A nil v checks only.
func NewParser(v Visitor) *Parser {
	if v == nil {
		v = Discard{}
	}
	return &Parser{v: v, state: atMagic}
}

// Write interprets the next bytes of the archive. An error, a *[SyntaxError] or
// the Visitor's own, is final: every later Write and Close returns it.
func (p *Parser) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.closed {
		return 0, errClosed
	}
	written := len(b)
	for len(b) > 0 {
		var n int
		switch {
		case p.state == inContent:
			n = int(min(int64(len(b)), p.left))
			if p.err = p.v.Content(b[:n]); p.err != nil {
				return written - len(b), p.err
			}
			p.left -= int64(n)
			p.off += int64(n)
			if p.left == 0 {
				p.state = afterContent
			}
		case len(p.hold) == 0:
			if n, p.err = p.step(b); p.err != nil {
				return written - len(b), p.err
			}
			p.off += int64(n)
			if n == 0 {
				p.hold = append(p.hold, b...)
				n = len(b)
			}
		default:
			n = min(p.need-len(p.hold), len(b))
			p.hold = append(p.hold, b[:n]...)
			if len(p.hold) < p.need {
				break
			}
			var used int
			if used, p.err = p.step(p.hold); p.err != nil {
				return written - len(b), p.err
			}
			if used > 0 {
				p.off += int64(used)
				p.hold = p.hold[:0]
			}
		}
		b = b[n:]
	}
	return written, nil
}

// Close returns an error unless exactly one whole archive was written. An archive
// that was cut short is a [SyntaxError] that is io.ErrUnexpectedEOF.
func (p *Parser) Close() error {
	p.closed = true
	if p.err == nil && p.state != atEnd {
		p.err = &SyntaxError{
			Offset: p.offset(),
			Path:   p.path(),
			Msg:    "archive cut short, expected " + p.state.String(),
			cause:  io.ErrUnexpectedEOF,
		}
	}
	return p.err
}

// Depth returns the greatest number of nodes inside one another so far, the root
// included. See CommonDepth.
func (p *Parser) Depth() int { return p.deepest }

// offset returns the number of bytes written so far. After Close without error it
// is the size of the archive. Between the two it is not to be used from within a
// Visitor, which sees nodes at times that depend on how the bytes were cut.
func (p *Parser) offset() int64 { return p.off + int64(len(p.hold)) }

var errClosed = errors.New("write NAR: parser is closed")

// A SyntaxError tells where and why bytes are not a canonical NAR.
type SyntaxError struct {
	Offset int64  // of the offending bytes in the archive
	Path   string // of the node they belong to, "/" between names, "" at the root
	Msg    string

	cause error
}

// Error returns the message with its place. A path is quoted, since an archive
// may hold any bytes in a name, and only the end of a very long one is shown.
func (e *SyntaxError) Error() string {
	path := e.Path
	const most = 200
	if len(path) > most {
		path = "…" + path[len(path)-most:]
	} else {
		path = "/" + path
	}
	return fmt.Sprintf("malformed NAR: byte %d, in %q: %s", e.Offset, path, e.Msg)
}

// Unwrap returns io.ErrUnexpectedEOF if the archive ended too early, else nil.
func (e *SyntaxError) Unwrap() error { return e.cause }

// fail makes the error for the unit at hand, skip bytes into it.
func (p *Parser) fail(skip int, format string, args ...any) error {
	return &SyntaxError{
		Offset: p.off + int64(skip),
		Path:   p.path(),
		Msg:    fmt.Sprintf(format, args...),
	}
}

// path returns the path of the node that the parser is in.
func (p *Parser) path() string {
	names := p.names
	if n := len(names); n > 0 {
		switch p.state {
		case atEntry, atName, inName:
			// Between entries: the last name is that of a node left behind.
			names = names[:n-1]
		}
	}
	return strings.Join(names, "/")
}
