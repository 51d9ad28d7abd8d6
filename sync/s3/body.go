package s3

import (
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
)

// A bodyError is a body that cannot be read, or is not what it says. No other
// attempt would go better.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

func unreadable(err error) error { return &bodyError{fmt.Errorf("read it: %w", err)} }

// A part is a stretch of a body as a request sends it. It can be sent again,
// and remembers what its reader said: the HTTP client does not tell that from a
// broken connection.
type part struct {
	*io.SectionReader
	size int64
	off  int64
	err  error
}

func newPart(body layout.Body, offset, size int64) *part {
	return &part{SectionReader: io.NewSectionReader(body, offset, size), size: size}
}

func (p *part) Read(b []byte) (int, error) {
	n, err := p.SectionReader.Read(b)
	p.off += int64(n)
	switch {
	case err == io.EOF && p.off < p.size:
		p.err = io.ErrUnexpectedEOF
	case err != nil && err != io.EOF:
		p.err = err
	}
	return n, err
}

func (p *part) Seek(offset int64, whence int) (int64, error) {
	off, err := p.SectionReader.Seek(offset, whence)
	p.off = off
	return off, err
}

// judge says what a request failed for: its body, if that failed.
func (p *part) judge(err error) error {
	if err == nil {
		return nil
	}
	if p.err != nil {
		return unreadable(p.err)
	}
	var broken *bodyError
	if errors.As(err, &broken) {
		return err
	}
	return classify(err)
}
