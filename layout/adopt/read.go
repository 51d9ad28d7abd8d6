package adopt

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
)

// A reading is what is in the file of a NAR. A NAR that was compressed anew is in packed.
type reading struct {
	method   compress.Method
	from     compress.Method // before it was compressed anew
	fileHash layout.Hash     // of the file that was read
	broken   error
	tooLong  bool
	narHash  layout.Hash
	narSize  int64
	proofs   []layout.Proof
	listing  layout.Body
	debug    []layout.DebugLink
	packed   *layout.Packed
	done     func()
}

func (a *adoption) read(ctx context.Context, key layout.Key, m compress.Method, claims []claim) (*reading, error) {
	r, err := a.readAs(ctx, key, m, claims)
	if err != nil || r.broken == nil {
		return r, err
	}
	// Older versions of Nix find out the compression by themselves, so that a label may
	// lie.
	real, err := a.guess(ctx, key)
	if err != nil || real == m {
		return r, err
	}
	again, err := a.readAs(ctx, key, real, claims)
	if err != nil {
		return r, nil
	}
	if again.broken != nil {
		again.done()
		return r, nil
	}
	r.done()
	return again, nil
}

// readAs reads a NAR as the file of a compression, and compresses it anew if that is
// wanted.
func (a *adoption) readAs(ctx context.Context, key layout.Key, m compress.Method, claims []claim) (*reading, error) {
	var failed error
	if a.o.Method != "" && a.o.Method != m && !a.o.Dry {
		before := a.o.Progress.Bytes.Load()
		var r *reading
		if r, failed = a.recompress(ctx, key, m, claims); failed == nil {
			return r, nil
		}
		a.o.Progress.Bytes.Add(before - a.o.Progress.Bytes.Load())
	}
	r, err := a.inspect(ctx, key, m, claims)
	if err != nil {
		return nil, err
	}
	if failed != nil {
		if kind, _ := a.fault(claims[0].n, r, 0); kind == "" {
			r.done()
			return nil, failed // it is not for the bytes
		}
	}
	return r, nil
}

func (a *adoption) guess(ctx context.Context, key layout.Key) (compress.Method, error) {
	body, _, err := a.tree.Get(ctx, key)
	if err != nil {
		return "", err
	}
	defer body.Close()
	head := make([]byte, 16)
	n, err := io.ReadFull(body, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return "", err
	}
	return compress.Guess("", head[:n]), nil
}

func (a *adoption) inspect(ctx context.Context, key layout.Key, m compress.Method, claims []claim) (*reading, error) {
	body, _, err := a.tree.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	infos := make([]*layout.PathInfo, len(claims))
	for i, c := range claims {
		infos[i] = &c.n.PathInfo
	}
	found, err := layout.Inspect(ctx, layout.CountReader(body, &a.o.Progress.Bytes), m, a.info.StoreDir, infos...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return &reading{method: m, fileHash: found.FileHash, broken: found.Broken, tooLong: found.TooLong, narHash: found.NarHash,
		narSize: found.NarSize, proofs: found.Proofs, listing: found.Listing, debug: found.Debug, done: found.Close}, nil
}

// recompress reads a NAR and packs it by another method in the same pass.
func (a *adoption) recompress(ctx context.Context, key layout.Key, m compress.Method, claims []claim) (*reading, error) {
	body, _, err := a.tree.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	sum := sha256.New()
	source := io.TeeReader(layout.CountReader(body, &a.o.Progress.Bytes), sum)
	packed, err := a.writer.Pack(ctx, &claims[0].n.PathInfo, func(to io.Writer) error {
		z, err := layout.NewDecoder(ctx, source, m, nil, nil)
		if err != nil {
			return err
		}
		defer z.Close()
		if _, err := io.Copy(to, struct{ io.Reader }{z}); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, source)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compress %s anew: %w", key, err)
	}
	r := &reading{method: packed.Method, from: m, fileHash: layout.Hash(sum.Sum(nil)), narHash: packed.NarHash, narSize: packed.NarSize,
		listing: packed.Listing(), debug: packed.DebugLinks(), packed: packed, done: packed.Discard}
	for i, c := range claims {
		proof, known := packed.Prove(&c.n.PathInfo, a.info.StoreDir)
		if !known && i == 0 && packed.Proved {
			proof = layout.Proved
		}
		r.proofs = append(r.proofs, proof)
	}
	return r, nil
}
