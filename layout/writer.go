package layout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/signer"
)

// A Writer adds store paths to a tree. Pack or Keep takes the NAR in one pass
// and leaves it in the spool; Add publishes what was packed.
//
// It is safe for concurrent use. Its fields are not to change once it is used.
type Writer struct {
	Tree       Tree
	StoreDir   string // of the tree's nix-cache-info
	Keys       []signer.SecretKey
	Pool       *compress.Pool
	Method     compress.Method // "" is zstd
	Level      int             // 0 is the method's default
	DebugInfo  bool            // write debuginfo/ links
	MaxNarSize int64           // bytes of a NAR whose size is not announced; 0 for no bound
	Spool      Spool           // nil for the tree's own, or temporary files
	Memory     *share.Pool     // of decoders; nil for as much as they want
	Turns      *share.Pool     // of the processor, for pieces of NARs; nil for as many as come
	// Spilled is told how many bytes of a listing are about to go to the disk, and
	// may end the NAR. Nil for as many as it takes.
	Spilled func(n int64) error
	// Spooled is told how many bytes of a NAR's file are in the spool by now, where
	// they can be read: see Lend. It is called by the goroutine that packs. Nil: no party
	// is told.
	Spooled func(file SpoolFile, n int64)
	// Published, unless it is nil, is told by Add and by an Inbox of each path that
	// appeared in the tree, and of each whose NAR is another one. It is to be quick,
	// and is called from several goroutines.
	Published func(*NarInfo)
}

func (w *Writer) spool() Spool {
	if w.Spool != nil {
		return w.Spool
	}
	return SpoolFor(w.Tree, "")
}

func (w *Writer) method() compress.Method {
	if w.Method == "" {
		return compress.Zstd
	}
	return w.Method
}

// Pack compresses the NAR that produce writes. The NAR must be whole and
// canonical, and be what want says as far as want knows; want may be nil.
func (w *Writer) Pack(ctx context.Context, want *PathInfo, produce func(io.Writer) error) (_ *Packed, err error) {
	p, out, err := w.begin(ctx, want)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			out.file.Discard()
			p.spill.discard()
		}
	}()
	method, frames := w.method(), []compress.Frame(nil)
	if method == compress.None {
		p.next = out.file // FileHash is NarHash: no second hash
		err = produce(p)
	} else {
		frames, err = w.compressed(ctx, p, out, method, produce)
	}
	if err != nil {
		return nil, err
	}
	return w.end(p, out, want, method, frames)
}

// compressed has the pass write through a compressor.
func (w *Writer) compressed(ctx context.Context, p *pass, out *hashedFile, method compress.Method, produce func(io.Writer) error) ([]compress.Frame, error) {
	z, err := w.Pool.NewWriter(ctx, out, method, w.Level)
	if err != nil {
		return nil, err
	}
	p.next = z
	if err := produce(p); err != nil {
		z.Close() // ctx or the stream is broken; err says why
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return z.Frames(), nil
}

// Keep takes a NAR that is compressed already, and keeps its bytes as they are.
// It must decompress to the NAR that Pack asks for.
func (w *Writer) Keep(ctx context.Context, want *PathInfo, method compress.Method, file io.Reader) (_ *Packed, err error) {
	p, out, err := w.begin(ctx, want)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			out.file.Discard()
			p.spill.discard()
		}
	}()
	z, turn, done, err := p.decode(ctx, w, func(t *turn) io.Reader { return &contextReader{ctx, io.TeeReader(t.source(file), out)} }, method)
	if err != nil {
		return nil, err
	}
	defer done()
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(turn.pieces(p), struct{ io.Reader }{z}, buf); err != nil {
		return nil, err
	}
	return w.end(p, out, want, method, z.Frames())
}

// Store puts a NAR that was packed to its key, ahead of Add. Nothing leads to it
// yet (I2), so that it need not wait for the paths that it refers to: where a Put
// takes long, as in a bucket, others are packed meanwhile. With replace it is
// written even if it is there.
func (w *Writer) Store(ctx context.Context, p *Packed, replace bool) error {
	err := w.Tree.Put(ctx, NARKey(p.FileHash, p.Method.Extension()), p.file, PutOptions{IfAbsent: !replace})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p.stored = true
	return nil
}

func (w *Writer) begin(ctx context.Context, want *PathInfo) (*pass, *hashedFile, error) {
	spool := w.spool()
	file, err := spool.Create()
	if err != nil {
		return nil, nil, err
	}
	p := newPass(ctx, spool, want, w.MaxNarSize, w.StoreDir)
	return p, &hashedFile{file: file, sum: sha256.New(), wrote: w.Spooled}, nil
}

func (w *Writer) end(p *pass, out *hashedFile, want *PathInfo, method compress.Method, frames []compress.Frame) (*Packed, error) {
	sum, err := p.finish(want)
	if err != nil {
		return nil, err
	}
	r := &Packed{NarHash: sum, NarSize: p.size, Method: method, FileHash: Hash(out.sum.Sum(nil)),
		FileSize: out.file.Size(), Depth: p.parser.Depth(), file: out.file, spill: &p.spill, debug: p.debug.links, sole: p.sole}
	if !out.used {
		r.FileHash = sum
	}
	if p.proof != nil {
		r.Proved = p.proof.holds()
	}
	if r.listing, err = p.list(r.FileHash, frames); err != nil {
		return nil, err
	}
	return r, out.file.Done()
}

// A hashedFile hashes what goes into a spool file.
type hashedFile struct {
	file SpoolFile
	sum  interface {
		io.Writer
		Sum([]byte) []byte
	}
	used  bool
	wrote func(SpoolFile, int64) // see Writer.Spooled
}

func (h *hashedFile) Write(b []byte) (int, error) {
	h.used = true
	h.sum.Write(b)
	n, err := h.file.Write(b)
	if h.wrote != nil && err == nil {
		h.wrote(h.file, h.file.Size())
	}
	return n, err
}

// narInfo makes the record of a packed path and signs it.
func (w *Writer) narInfo(item Item) (*NarInfo, error) {
	n := &NarInfo{PathInfo: item.Info, Compression: item.Packed.Method,
		FileHash: item.Packed.FileHash, FileSize: item.Packed.FileSize}
	n.NarHash, n.NarSize = item.Packed.NarHash, item.Packed.NarSize
	n.URL = string(NARKey(n.FileHash, n.Compression.Extension()))
	if err := n.Sign(w.StoreDir, w.Keys); err != nil {
		return nil, err
	}
	if len(n.Marshal(w.StoreDir)) > MaxNarInfo {
		return nil, fmt.Errorf("write the narinfo of %s: %w: its signatures or references have more than %d bytes", n.Path, ErrTooLarge, MaxNarInfo)
	}
	return n, nil
}
