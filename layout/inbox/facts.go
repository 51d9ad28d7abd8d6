package inbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

var (
	// errNoNAR says that a NAR is known to be absent.
	errNoNAR = errors.New("no such NAR")
	// errDamaged says that the file of a NAR has other bytes than its name says:
	// as good as absent, until it is sent again.
	errDamaged = fmt.Errorf("%w: its bytes are damaged", errNoNAR)
)

func noNAR(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNoNAR
	}
	return err
}

// facts returns what is true of the NAR at key, and of a claim that it has a
// content address. The receipt is to be released. The error is errNoNAR if
// the NAR is absent or damaged, and a Refusal if it is not what is claimed.
func (b *Inbox) facts(ctx context.Context, key layout.Key, claim *layout.PathInfo) (*receipt, layout.Proof, error) {
	info, err := b.writer.Tree.Stat(ctx, key)
	if err != nil {
		return nil, 0, noNAR(err)
	}
	if b.damaged.has(info) {
		return nil, 0, errDamaged
	}
	r := b.receiptOf(info)
	if r != nil {
		if proof, known := r.prove(claim, b.writer.StoreDir); known {
			return r, proof, nil
		}
	}
	found, object, err := b.inspect(ctx, key, claim)
	if err != nil {
		if r != nil {
			r.release()
		}
		return nil, 0, err
	}
	proof := found.proof
	if r != nil {
		found.release()
		return r, proof, nil
	}
	// Whoever put it may have died before it was sure to stay.
	if err := b.sync(ctx, key); err != nil {
		found.release()
		return nil, 0, err
	}
	found.object = object
	b.remember(&found.receipt)
	return &found.receipt, proof, nil
}

// An inspected is what reading a NAR from the tree found.
type inspected struct {
	receipt
	proof layout.Proof
}

// inspect reads the NAR that is in the tree: it came before a restart, or
// behind our back, or its receipt was forgotten or does not say enough.
func (b *Inbox) inspect(ctx context.Context, key layout.Key, claim *layout.PathInfo) (*inspected, layout.Info, error) {
	body, object, err := b.writer.Tree.Get(ctx, key)
	if err != nil {
		return nil, object, noNAR(err)
	}
	defer body.Close()
	file := bufio.NewReaderSize(body, 64<<10)
	if _, err := file.Peek(len(narMagic)); err != nil && object.Size >= int64(len(narMagic)) {
		return nil, object, fmt.Errorf("read %s: %w", key, err)
	}
	method, err := methodOf(key, file)
	if err != nil {
		return nil, object, err
	}
	found, err := layout.Inspect(ctx, file, method, b.writer.StoreDir, claim)
	if err != nil {
		return nil, object, fmt.Errorf("read %s: %w", key, err)
	}
	if named, err := key.FileHash(); err != nil || named != found.FileHash {
		found.Close()
		b.damaged.add(object)
		b.log.WarnContext(ctx, "a NAR is damaged", "key", key, "hash", found.FileHash)
		return nil, object, fmt.Errorf("read %s: %w", key, errDamaged)
	}
	switch {
	case found.Broken != nil:
		return nil, object, refuse(NARDiffers, "%s holds no NAR: %v", key, found.Broken).because(found.Broken)
	case found.TooLong:
		return nil, object, refuse(NARDiffers, "the NAR in %s has more than %d bytes", key, claim.NarSize)
	}
	i := &inspected{proof: found.Proofs[0], receipt: receipt{
		method: method, narHash: found.NarHash, narSize: found.NarSize, listing: found.Listing, debug: found.Debug,
		prove: func(other *layout.PathInfo, storeDir string) (layout.Proof, bool) {
			// The Inspected proved one address, and remembers the hash of the NAR.
			return (&layout.Packed{NarHash: found.NarHash}).Prove(other, storeDir)
		},
	}}
	i.free = found.Close
	i.retain()
	return i, object, nil
}

// anyNAR is a claim that says nothing but how long a NAR may be.
func (b *Inbox) anyNAR() *layout.PathInfo { return &layout.PathInfo{NarSize: b.cfg.MaxNarSize} }

// sync makes an object last that is there, and that someone is about to be told
// of, or that a record is about to rest on, though this inbox did not put it there.
func (b *Inbox) sync(ctx context.Context, key layout.Key) error {
	return storage(layout.Flush(ctx, b.writer.Tree, key))
}

// exists reports whether an object is there.
func (b *Inbox) exists(ctx context.Context, key layout.Key) (bool, error) {
	_, there, err := layout.Lookup(ctx, b.writer.Tree, key)
	return there, err
}
