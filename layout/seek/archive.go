package seek

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// An Archive is the NAR of a store path in a cache.
type Archive struct {
	// Whole says that every NAR is read to its end, and compared with the record.
	Whole bool
	// Unlisted tells why there is no listing that can be used. It is fs.ErrNotExist if
	// there is none at all, and nil if there is one.
	Unlisted error

	from   layout.Reader
	record *layout.NarInfo
	root   *nar.Node   // nil without a listing
	frames []nar.Frame // of the record's file; nil if they are not known
}

// Open reads the listing of a path, if the cache has one. A listing that cannot be
// understood counts as none; an error is about reading.
func Open(ctx context.Context, r layout.Reader, record *layout.NarInfo) (*Archive, error) {
	a := &Archive{from: r, record: record}
	root, seek, err := readListing(ctx, r, layout.ListingKey(record.Path), "")
	var bad *BadListing
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.As(err, &bad):
		a.Unlisted = err
		return a, nil
	case err != nil:
		return nil, err
	}
	a.root = root
	if a.fits(seek) {
		a.frames = seek.Frames
	}
	return a, nil
}

// fits reports whether frames are those of the record's file.
func (a *Archive) fits(s *nar.Seek) bool {
	if s == nil || len(s.Frames) < 2 {
		return false
	}
	hash := a.record.FileHash
	if hash.IsZero() {
		if keys, err := a.record.NARKeys(); err == nil {
			hash, _ = keys[0].FileHash()
		}
	}
	file, content := s.Total()
	return !hash.IsZero() && s.File == hash.String() && content == a.record.NarSize &&
		(a.record.FileSize == 0 || file == a.record.FileSize)
}

// A BadListing is a listing that cannot be understood.
type BadListing struct{ err error }

// Error says why.
func (b *BadListing) Error() string { return b.err.Error() }

// Unwrap returns why.
func (b *BadListing) Unwrap() error { return b.err }

// Listing reads the listing of a path. The error is fs.ErrNotExist if there is none, and
// a BadListing if it cannot be understood.
//
// If part is not empty only a listing is wanted in which a name or target has that in it;
// of another one, nil may be returned. Most of a million listings need not be parsed then.
func Listing(ctx context.Context, r layout.Reader, p layout.StorePath, part string) (*nar.Node, error) {
	root, _, err := readListing(ctx, r, layout.ListingKey(p), part)
	return root, err
}

// readListing reads a listing. Some caches have it compressed under its plain name.
func readListing(ctx context.Context, r layout.Reader, key layout.Key, part string) (*nar.Node, *nar.Seek, error) {
	body, info, err := r.Get(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	if info.Size > key.Kind().MaxBytes() {
		return nil, nil, &BadListing{fmt.Errorf("read %s: %w", key, layout.ErrTooLarge)}
	}
	source := &source{ctx: ctx, r: body}
	from := bufio.NewReader(source)
	head, _ := from.Peek(16) // the error comes back when the rest is read
	var text io.Reader = from
	if start := bytes.TrimLeft(head, " \t\r\n"); len(start) > 0 && start[0] != '{' {
		if method := compress.Guess("", head); method != compress.None {
			z, err := compress.NewReader(from, method)
			if err != nil {
				return nil, nil, err
			}
			defer z.Close()
			text = z
		}
	}
	most := key.Kind().MaxBytes()
	var whole bytes.Buffer
	_, err = whole.ReadFrom(io.LimitReader(text, most+1))
	if source.err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, source.err)
	}
	if err == nil && lacks(whole.Bytes(), part) {
		return nil, nil, nil
	}
	var root *nar.Node
	var seek *nar.Seek
	if err == nil {
		root, seek, err = nar.ParseSeekable(&whole, most)
	}
	if err != nil {
		return nil, nil, &BadListing{fmt.Errorf("read %s: %w", key, err)}
	}
	return root, seek, nil
}

// lacks reports whether no text of a listing has a part in it, as far as that can be seen in
// its bytes: characters can be written as escapes, and those that are not UTF-8 stand
// for others. Nothing is known of bytes that are not a listing.
func lacks(listing []byte, part string) bool {
	return part != "" && utf8.ValidString(part) && !strings.ContainsAny(part, "\"\\\ufffd") &&
		!bytes.Contains(listing, []byte(part)) && bytes.IndexByte(listing, '\\') < 0 && bytes.Contains(listing, []byte(`"root"`)) && json.Valid(listing)
}

// A source ends with its context, counts, and remembers the error of its reader, to tell
// it from what the bytes mean.
type source struct {
	ctx context.Context
	r   io.Reader
	n   int64
	err error // but io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// open opens the compressed file from its start.
func (a *Archive) open(ctx context.Context) (io.ReadCloser, error) {
	body, _, err := layout.OpenNAR(ctx, a.from, a.record)
	return body, err
}

// openPart opens the bytes [from, to) of the compressed file, which has that size.
func (a *Archive) openPart(ctx context.Context, size, from, to int64) (io.ReadCloser, error) {
	return layout.OpenNARRange(ctx, a.from, a.record, size, from, to)
}

// Parts is how many parts of the file can be read by themselves: one if it has to be
// read from its start.
func (a *Archive) Parts() int { return max(1, len(a.frames)) }
