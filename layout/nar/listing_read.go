package nar

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// SameListing reports whether a listing in any form says what ours says, which
// is as a ListingWriter writes it. A listing whose entries are not in the order of
// the NAR, as Nix has them, is another one. So is one that tells of frames of the NAR's
// file otherwise than ours (see Seek.Agrees); one that tells of none, as Nix writes
// it, is the same. An error that is a *BadListing is about
// the bytes of the listing, any other about reading them.
//
// Memory grows with the depth of the tree alone, and reading ends at the first
// difference.
func SameListing(listing, ours io.Reader, file string) (bool, error) {
	want := &comparer{r: bufio.NewReader(ours)}
	w := NewListingWriter(want)
	seek, err := readListing(listing, w)
	if err == nil {
		err = w.w.Flush() // all but what follows the root
	}
	known := (*Seek)(nil)
	if err == nil {
		known, err = want.end()
	}
	if errors.Is(err, errOther) || err == nil && !seek.Agrees(known, file) {
		return false, nil
	}
	return err == nil, err
}

// errOther ends a comparison.
var errOther = errors.New("another listing")

// A comparer compares what is written to it with what its reader has.
type comparer struct {
	r   *bufio.Reader
	buf [4096]byte
}

func (c *comparer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(c.buf[:], rest)
		if _, err := io.ReadFull(c.r, c.buf[:n]); err == io.EOF || err == io.ErrUnexpectedEOF {
			return 0, errOther
		} else if err != nil {
			return 0, err
		}
		if !bytes.Equal(c.buf[:n], rest[:n]) {
			return 0, errOther
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// end reads what follows the root.
func (c *comparer) end() (*Seek, error) {
	rest, err := io.ReadAll(io.LimitReader(c.r, maxSeek+64))
	if err != nil {
		return nil, err
	}
	text, ok := bytes.CutSuffix(rest, []byte(`,"version":1}`))
	if !ok {
		return nil, errOther
	}
	if len(text) == 0 {
		return nil, nil
	}
	if text, ok = bytes.CutPrefix(text, []byte(`,"seek":`)); !ok {
		return nil, errOther
	}
	seek, err := parseSeek(text)
	if err != nil {
		return nil, errOther
	}
	return seek, nil
}

// A BadListing says that bytes are not a listing.
type BadListing struct{ err error }

// Error says what is wrong with them.
func (b *BadListing) Error() string { return "parse listing: " + b.err.Error() }

// readListing tells v of what a listing says, in the order in which it is
// written. It accepts what ParseListing accepts, but does not notice a name that
// stands twice. An error is a *BadListing, or that of r or of v.
//
// Memory grows with the depth of the tree alone, whatever r has.
func readListing(r io.Reader, v Visitor) (*Seek, error) {
	source := &tokenSource{r: r}
	d := &listingReader{json: json.NewDecoder(source), source: source, visitor: v}
	d.json.UseNumber()
	err := d.document()
	switch {
	case source.err != nil:
		return nil, source.err
	case d.refused != nil:
		return nil, d.refused
	case err != nil:
		return nil, &BadListing{err}
	}
	return d.seek, nil
}

// maxToken bounds the bytes from one word of a listing to the next. The longest
// that makes sense is a target, each byte of it an escape of six.
const maxToken = 64 << 10

// A tokenSource gives up where a word does not end, and remembers the error of
// its reader, to tell it from what the bytes mean.
type tokenSource struct {
	r     io.Reader
	since int // bytes since the last token
	more  int // bytes beyond maxToken that the next one may have
	err   error
}

func (s *tokenSource) Read(p []byte) (int, error) {
	if s.since > maxToken+s.more {
		return 0, fmt.Errorf("%d bytes without a word", s.since)
	}
	n, err := s.r.Read(p[:min(len(p), 16<<10)])
	s.since += n
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// A listingReader reads the tokens of a listing.
type listingReader struct {
	json    *json.Decoder
	source  *tokenSource
	visitor Visitor
	refused error // by the visitor
	seek    *Seek
}

// token returns the next token. The end of the bytes is an error.
func (d *listingReader) token() (json.Token, error) {
	t, err := d.json.Token()
	d.source.since = 0
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

// tell notes whether the visitor wants no more.
func (d *listingReader) tell(err error) error {
	if err != nil {
		d.refused = err
	}
	return err
}

// object reads an object and calls f with each key; f reads the value.
func (d *listingReader) object(f func(key string) error) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("expected an object, not %.40v", t)
	}
	for {
		t, err := d.token()
		if err != nil {
			return err
		}
		key, ok := t.(string)
		if !ok {
			return nil // the closing brace: the decoder takes nothing else
		}
		if err := f(key); err != nil {
			return err
		}
	}
}

// skip reads past a value of any kind.
func (d *listingReader) skip() error {
	for depth := 0; ; {
		t, err := d.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > MaxDepth {
				return fmt.Errorf("more than %d values inside one another", MaxDepth)
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func (d *listingReader) document() error {
	root, version := false, json.Number("")
	err := d.object(func(key string) error {
		switch key {
		case "root":
			if root {
				return errTwice(key)
			}
			root = true
			return d.node("", 0)
		case "version":
			if version != "" {
				return errTwice(key)
			}
			return d.value(key, &version)
		case "seek":
			if d.seek != nil {
				return errTwice(key)
			}
			return d.readSeek()
		}
		return d.skip()
	})
	switch {
	case err != nil:
		return err
	case version != "1":
		return errors.New("not a listing of version 1")
	case !root:
		return errors.New("no root")
	}
	if t, err := d.token(); err != io.ErrUnexpectedEOF {
		return fmt.Errorf("something follows the listing: %.40v, %w", t, err)
	}
	return nil
}

// readSeek reads the frames, which are bounded, at once.
func (d *listingReader) readSeek() error {
	var text json.RawMessage
	d.source.more = maxSeek
	err := d.json.Decode(&text)
	d.source.more, d.source.since = 0, 0
	if err == nil {
		d.seek, err = parseSeek(text)
	}
	return err
}

// value reads a value of the type that to points to.
func (d *listingReader) value(key string, to any) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	ok := false
	switch to := to.(type) {
	case *string:
		*to, ok = t.(string)
	case *json.Number:
		*to, ok = t.(json.Number)
	case *bool:
		*to, ok = t.(bool)
	case *int64:
		var number json.Number
		if number, ok = t.(json.Number); ok {
			n, err := strconv.ParseUint(string(number), 10, 63)
			*to, ok = int64(n), err == nil
		}
	}
	if !ok {
		return fmt.Errorf("%q cannot be %.40v", key, t)
	}
	return nil
}

// node reads a node that has depth directories around it, and tells of it.
func (d *listingReader) node(name string, depth int) error {
	var n Node
	have := field(0)
	err := d.object(func(key string) error {
		f := fields[key]
		if have&f != 0 {
			return errTwice(key)
		}
		have |= f
		switch f {
		case fieldType:
			return d.value(key, (*string)(&n.Type))
		case fieldSize:
			return d.value(key, &n.Size)
		case fieldExecutable:
			return d.value(key, &n.Executable)
		case fieldNarOffset:
			return d.value(key, &n.NarOffset)
		case fieldTarget:
			return d.value(key, &n.Target)
		case fieldEntries: // which only a directory can have
			if depth == MaxDepth {
				return fmt.Errorf("more than %d directories inside one another", MaxDepth)
			}
			if err := d.tell(d.visitor.Enter(name)); err != nil {
				return err
			}
			return d.object(func(name string) error {
				if err := checkListedName(name); err != nil {
					return err
				}
				return d.node(name, depth+1)
			})
		}
		return d.skip()
	})
	if err == nil {
		err = n.check(have)
	}
	if err != nil {
		return err
	}
	switch n.Type {
	case TypeDirectory:
		err = d.visitor.Leave()
	case TypeRegular:
		err = d.visitor.Regular(name, n.Executable, n.Size, n.NarOffset)
	case TypeSymlink:
		err = d.visitor.Symlink(name, n.Target)
	}
	return d.tell(err)
}
