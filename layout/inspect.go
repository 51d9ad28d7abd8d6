package layout

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// An Inspected is what one pass over a NAR file found. Close releases it.
type Inspected struct {
	FileHash Hash // of all bytes of the file, however little sense they make
	FileSize int64

	// Broken tells why the file does not hold a NAR: what is wrong with the
	// compression or the archive. The fields below are then not set.
	Broken error
	// TooLong says that the NAR has more bytes than every claim allows it, and
	// was not read further. The fields below are then not set.
	TooLong bool

	NarHash Hash
	NarSize int64
	Proofs  []Proof // one for each claim
	Listing Body    // as the Writer writes it
	Debug   []DebugLink

	spill spill
}

// Close releases the listing.
func (i *Inspected) Close() { i.spill.discard() }

// Inspect reads a NAR file to its end, once, and says what it holds. The
// claims are the records that lead to the file: their greatest NarSize bounds
// what is decompressed, and their content addresses are put to the proof.
// Nothing is compared with their other fields; that is up to the caller.
//
// An error is about reading the file, never about what it holds.
func Inspect(ctx context.Context, file io.Reader, method compress.Method, storeDir string, claims ...*PathInfo) (*Inspected, error) {
	return (&Writer{StoreDir: storeDir}).Inspect(ctx, file, method, claims...)
}

// Inspect is the function of that name for a tree that a Writer has, with the
// memory that it may have for decoders.
func (w *Writer) Inspect(ctx context.Context, file io.Reader, method compress.Method, claims ...*PathInfo) (*Inspected, error) {
	storeDir := w.StoreDir
	source := &recorder{sum: sha256.New()}
	limit := &PathInfo{}
	for _, claim := range claims {
		limit.NarSize = max(limit.NarSize, claim.NarSize)
	}
	p := newPass(ctx, TempSpool(""), limit, 0, storeDir)
	z, turn, done, err := p.decode(ctx, w, func(t *turn) io.Reader {
		source.r = t.source(&contextReader{ctx, file})
		return source
	}, method)
	if err != nil {
		return nil, err
	}
	defer done()
	writers := []io.Writer{p}
	proofs := make([]*claimProof, len(claims))
	for i, claim := range claims {
		if proofs[i] = newClaimProof(claim, storeDir); proofs[i] != nil {
			writers = append(writers, proofs[i])
		}
	}
	found := &Inspected{}
	buf := make([]byte, 256<<10)
	_, broken := io.CopyBuffer(turn.pieces(io.MultiWriter(writers...)), struct{ io.Reader }{z}, buf)
	if broken == nil {
		found.NarHash, broken = p.finish(nil)
	}
	// After an error some is left; after a clean end there is nothing.
	if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{source}, buf); err != nil {
		p.spill.discard()
		return nil, err
	}
	found.FileHash, found.FileSize = Hash(source.sum.Sum(nil)), source.size
	if broken != nil {
		p.spill.discard()
		switch {
		case limit.NarSize > 0 && p.size > limit.NarSize:
			found.TooLong = true
		case aboutContent(broken):
			found.Broken = broken
		default:
			return nil, broken
		}
		return found, nil
	}
	if found.Listing, err = p.list(found.FileHash, z.Frames()); err != nil {
		p.spill.discard()
		return nil, err
	}
	found.NarSize, found.spill, found.Debug = p.size, p.spill, p.debug.links
	for _, s := range proofs {
		found.Proofs = append(found.Proofs, s.outcome())
	}
	return found, nil
}

// aboutContent tells what is wrong with a file from what keeps us from reading
// it: a disk without room for a listing says nothing about the NAR.
func aboutContent(err error) bool {
	syntax := (*nar.SyntaxError)(nil)
	return errors.As(err, &syntax) || errors.Is(err, compress.ErrCorrupt) || errors.Is(err, ErrTooManyFiles)
}

// recorder hashes and counts what is read through it.
type recorder struct {
	r    io.Reader
	sum  hash.Hash
	size int64
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	r.size += int64(n)
	return n, err
}

// A claimProof puts one claim to the proof beside the pass: several paths may
// share a NAR, each with an address of its own.
type claimProof struct {
	proof  *proof
	parser *nar.Parser // nil if the NAR itself is hashed
}

// newClaimProof returns nil if the claim has nothing to prove.
func newClaimProof(claim *PathInfo, storeDir string) *claimProof {
	p := newProof(claim, storeDir)
	if p == nil {
		return nil
	}
	c := &claimProof{proof: p}
	if p.nar == nil {
		c.parser = nar.NewParser(p)
	}
	return c
}

func (c *claimProof) Write(b []byte) (int, error) {
	if c.parser != nil {
		return c.parser.Write(b)
	}
	return c.proof.nar.Write(b)
}

func (c *claimProof) outcome() Proof {
	switch {
	case c == nil:
		return Unclaimed
	case c.proof.holds():
		return Proved
	}
	return Refuted
}
