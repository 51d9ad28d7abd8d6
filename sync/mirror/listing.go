package mirror

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// A needless error says that an object which no client needs cannot be understood:
// it is passed over with a note.
type needless struct{ err error }

func (e *needless) Error() string { return e.err.Error() }
func (e *needless) Unwrap() error { return e.err }

// plainListing returns what a listing says. A cache may have it compressed under
// its plain name: a program copied the bytes, and not the header that told.
func plainListing(r io.Reader) (io.ReadCloser, error) {
	from := bufio.NewReader(r)
	head, _ := from.Peek(16) // the error comes back when the rest is read
	if text := bytes.TrimLeft(head, " \t\r\n"); len(text) == 0 || text[0] == '{' {
		return io.NopCloser(from), nil
	}
	method := compress.Guess("", head)
	if method == compress.None {
		method = compress.Brotli // which begins in no way of its own
	}
	plain, err := compress.NewReader(from, method)
	return &uncompressed{plain}, err
}

// takeListing checks a listing, and makes it plain. A listing that makes no sense
// can be made anew from its NAR.
func (p *pass) takeListing(f fetched) (fetched, error) {
	file := io.NewSectionReader(f.body, 0, f.body.Size())
	plain, err := plainListing(file)
	if err != nil {
		return f, err
	}
	defer plain.Close()
	if _, compressed := plain.(*uncompressed); !compressed {
		return f, checkListing(f.body)
	}
	decoded, _, err := p.spool(io.LimitReader(plain, layout.KindListing.MaxBytes()+1))
	switch {
	case err == nil:
		err = checkListing(decoded.body)
	case errors.Is(err, compress.ErrCorrupt):
		err = &needless{&contentError{fmt.Errorf("neither a listing nor a compressed one: %w", err)}}
	}
	if err != nil {
		decoded.release()
		return f, err
	}
	f.release()
	return decoded, nil
}

// An uncompressed listing was compressed.
type uncompressed struct{ io.ReadCloser }

// checkListing parses a listing.
func checkListing(body layout.Body) error {
	defer nar.ListingTurn(body.Size())()
	if _, err := nar.ParseListing(io.NewSectionReader(body, 0, body.Size()), layout.KindListing.MaxBytes()); err != nil {
		return &needless{&contentError{err}}
	}
	return nil
}
