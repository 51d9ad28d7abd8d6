package fsck

import (
	"context"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// A badListing says that a listing was read and makes no sense.
type badListing struct{ err error }

func (b *badListing) Error() string { return b.err.Error() }

// readListing reads the listing at key.
func (c *check) readListing(ctx context.Context, key layout.Key) (*nar.Node, *nar.Seek, error) {
	body, info, err := c.tree.Get(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	defer body.Close()
	defer nar.ListingTurn(info.Size)()
	source := &source{r: body}
	root, seek, err := nar.ParseSeekable(source, layout.KindListing.MaxBytes())
	if source.err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, source.err)
	}
	if err != nil {
		return nil, nil, &badListing{err}
	}
	return root, seek, nil
}

// sameListing reports whether the listing at key says what ours says, or no more
// than Nix does, which tells of no frames of the NAR's file. It has been parsed before.
func (c *check) sameListing(ctx context.Context, key layout.Key, ours layout.Body, file layout.Hash) (bool, error) {
	// Nearly always it was written by the same code.
	same, err := layout.SameBytes(ctx, c.tree, key, ours)
	if same || err != nil {
		return same, err
	}
	theirs, seek, err := c.readListing(ctx, key)
	if err != nil {
		return false, err
	}
	defer nar.ListingTurn(ours.Size())()
	root, known, err := nar.ParseSeekable(io.NewSectionReader(ours, 0, ours.Size()), layout.KindListing.MaxBytes())
	if err != nil {
		return false, err
	}
	return nar.EqualListing(root, theirs) && seek.Agrees(known, file.String()), nil
}

// A source remembers the error of what is read, to tell it from what readers
// make of the bytes.
type source struct {
	r   io.Reader
	err error // but io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
