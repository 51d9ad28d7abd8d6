package layout

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/share"
)

// listingInMemory is the size up to which a listing needs no file.
const listingInMemory = 64 << 10

// A pass is one pass over the bytes of a NAR: each piece is hashed, checked
// against the grammar, listed, and handed on while it is warm in the cache.
type pass struct {
	ctx     context.Context
	next    io.Writer // the compressor; nil to only look
	limit   int64     // bytes the NAR may have
	known   bool      // limit is what the record says, not an allowance
	size    int64
	sum     hash.Hash
	parser  *nar.Parser
	spill   spill
	listing *nar.ListingWriter
	debug   debugLinks
	proof   *proof    // nil unless the path claims a content address
	sole    *soleFile // nil unless there is no record yet
}

// newPass starts a pass. want may be nil, or have unknown sizes and hashes.
func newPass(ctx context.Context, spool Spool, want *PathInfo, maxNarSize int64, storeDir string) *pass {
	p := &pass{ctx: ctx, limit: maxNarSize, sum: sha256.New()}
	p.spill = spill{spool: spool, limit: listingInMemory}
	p.listing = nar.NewListingWriter(&p.spill)
	if want != nil {
		if want.NarSize > 0 {
			p.limit, p.known = want.NarSize, true
		}
		if want.CA != "" {
			p.proof = newProof(want, storeDir)
		}
	}
	visitors := []nar.Visitor{p.listing, &p.debug}
	if want == nil {
		p.sole = newSoleFile()
		visitors = append(visitors, p.sole)
	}
	if p.proof != nil && p.proof.content != nil {
		visitors = append(visitors, p.proof)
	}
	p.parser = nar.NewParser(nar.Visitors(visitors...))
	return p
}

// decode opens a file whose NAR is to go through the pass, which takes no more of
// memory and of the processor than its Writer may have. When done is called, nothing
// is held any more.
func (p *pass) decode(ctx context.Context, w *Writer, file func(*turn) io.Reader, method compress.Method) (z compress.Reader, t *turn, done func(), err error) {
	p.spill.spilled = w.Spilled
	if t, err = w.turn(ctx); err != nil {
		return nil, nil, nil, err
	}
	parts := make([]*share.Part, 2) // of memory: for the decoder, and for debug links
	done = func() {
		parts[1].Release()
		t.end()
	}
	for i := range parts {
		if parts[i], err = w.Memory.Take(ctx, 0); err != nil {
			done()
			return nil, nil, nil, err
		}
	}
	more := func(part *share.Part) func(total int64) error {
		return func(total int64) error { return t.without(func() error { return part.Resize(ctx, total) }) }
	}
	p.debug.memory = more(parts[1])
	if z, err = decodeWithin(file(t), method, parts[0], more(parts[0])); err != nil {
		done()
		return nil, nil, nil, err
	}
	end := done
	return z, t, func() { z.Close(); end() }, nil
}

// Write takes the next piece of the NAR.
func (p *pass) Write(b []byte) (int, error) {
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	p.size += int64(len(b))
	if p.limit > 0 && p.size > p.limit {
		return 0, &NARTooLong{Limit: p.limit, Announced: p.known}
	}
	if _, err := p.parser.Write(b); err != nil {
		return 0, fmt.Errorf("read NAR: %w", err)
	}
	p.sum.Write(b)
	if p.proof != nil && p.proof.nar != nil {
		p.proof.nar.Write(b)
	}
	if p.next != nil {
		if _, err := p.next.Write(b); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// finish ends the NAR: it must be whole, and what want says. The listing is still
// open: list ends it.
func (p *pass) finish(want *PathInfo) (Hash, error) {
	if err := p.parser.Close(); err != nil {
		return Hash{}, fmt.Errorf("read NAR: %w", err)
	}
	sum := Hash(p.sum.Sum(nil))
	if want != nil {
		if want.NarSize > 0 && p.size != want.NarSize {
			return sum, fmt.Errorf("the NAR has %d bytes, its narinfo says %d", p.size, want.NarSize)
		}
		if !want.NarHash.IsZero() && sum != want.NarHash {
			return sum, &HashMismatch{What: "NAR", Got: sum, Want: want.NarHash}
		}
	}
	return sum, nil
}

// list ends the listing, and returns it. It tells of the frames of the NAR's file if
// there are several: the sizes of a single one are in the record.
func (p *pass) list(file Hash, frames []compress.Frame) (Body, error) {
	if len(frames) > 1 {
		seek := &nar.Seek{File: file.String(), Frames: make([]nar.Frame, len(frames))}
		for i, f := range frames {
			seek.Frames[i] = nar.Frame(f)
		}
		p.listing.Seek = seek
	}
	if err := p.listing.Close(); err != nil {
		return nil, fmt.Errorf("list NAR: %w", err)
	}
	return p.spill.body()
}

// A NARTooLong says that a NAR has more bytes than it may have.
type NARTooLong struct {
	Limit     int64
	Announced bool // Limit is what the record says, not an allowance
}

func (e *NARTooLong) Error() string {
	if e.Announced {
		return fmt.Sprintf("the NAR has more than the %d bytes of its narinfo", e.Limit)
	}
	return fmt.Sprintf("the NAR has more than the %d bytes that are allowed", e.Limit)
}

// A HashMismatch says that bytes are not those that were announced.
type HashMismatch struct {
	What      string // "NAR" or "file"
	Got, Want Hash
}

func (e *HashMismatch) Error() string {
	return fmt.Sprintf("the %s hashes to %s, its narinfo says %s", e.What, e.Got, e.Want)
}
