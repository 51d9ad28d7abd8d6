package inbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A receipt is what is remembered of a NAR that came by: all that narinfos can
// claim of it, so that they need not read it again. It is believed as long as
// the tree shows the object that it was made for.
type receipt struct {
	shared
	object   layout.Info // the NAR file in the tree
	method   compress.Method
	fileHash layout.Hash
	narHash  layout.Hash
	narSize  int64
	listing  layout.Body
	debug    []layout.DebugLink
	prove    func(*layout.PathInfo, string) (layout.Proof, bool) // as Packed.Prove
	accepted bool                                                // a narinfo that leads here is published; guarded by Inbox.mu
}

func (b *Inbox) costOf(r *receipt) int64 {
	cost := r.listing.Size()
	if cost > 64<<10 { // the Writer keeps no larger one in memory
		cost = b.spooledCost(cost)
	}
	for _, link := range r.debug {
		cost += int64(len(link.ID)+len(link.Member)) + 32
	}
	return cost
}

// sameObject reports whether two descriptions are of one version of an object.
func sameObject(x, y layout.Info) bool {
	same := x.Key == y.Key && x.Size == y.Size && x.ETag == y.ETag
	if y.ETag == "" {
		same = same && x.ModTime.Equal(y.ModTime)
	}
	return same
}

// receiptOf returns the receipt of the NAR that info describes, nil if there is
// none. The caller must release it.
func (b *Inbox) receiptOf(info layout.Info) *receipt {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.receipts.get(info.Key)
	if !ok {
		return nil
	}
	if !sameObject(r.object, info) {
		b.receipts.remove(info.Key)
		return nil
	}
	r.retain()
	return r
}

// remember files a receipt. The caller's use of it ends with its own release.
func (b *Inbox) remember(ctx context.Context, r *receipt) {
	r.retain()
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, ok := b.receipts.get(r.object.Key); ok {
		r.accepted = r.accepted || old.accepted // the same bytes once more (I4)
	}
	b.receipts.put(share.From(ctx), r.object.Key, r, b.costOf(r))
}

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

// look returns what is true of the NAR at key, and of a claim that it has a
// content address. The receipt is to be released. The error is errNoNAR if
// the NAR is absent or damaged, and an *unread if it has to be read first: see
// reading.
func (b *Inbox) look(ctx context.Context, key layout.Key, claim *layout.PathInfo) (*receipt, layout.Proof, error) {
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
	found := readFor(ctx, info, claim)
	if found == nil {
		if r != nil {
			r.release()
		}
		return nil, 0, &unread{key, claim}
	}
	switch {
	case found.refused != nil && r != nil:
		r.release()
		return nil, 0, found.refused
	case found.refused != nil:
		return nil, 0, found.refused
	case r == nil:
		r = &found.receipt
		r.retain()
	}
	return r, found.proof, nil
}

// An inspected is what reading a NAR from the tree found.
type inspected struct {
	receipt
	claim *layout.PathInfo
	proof layout.Proof // of the claim
	// refused says why nothing can rest on the NAR, or on the claim. Nothing else is
	// known then.
	refused error
}

// newReceipt makes the receipt of a NAR, for an object that is not known yet.
// It owns all of packed but its file.
func (b *Inbox) newReceipt(packed *layout.Packed) *receipt {
	r := &receipt{method: packed.Method, fileHash: packed.FileHash, narHash: packed.NarHash, narSize: packed.NarSize,
		listing: packed.Listing(), debug: packed.DebugLinks(), prove: packed.Prove}
	r.free = packed.Discard
	r.retain()
	return r
}

// inspect reads the NAR that is in the tree: it came before a restart, or
// behind our back, or its receipt was forgotten or does not say enough.
func (b *Inbox) inspect(ctx context.Context, key layout.Key, claim *layout.PathInfo) (*inspected, error) {
	body, object, err := b.writer.Tree.Get(ctx, key)
	if err != nil {
		return nil, noNAR(err)
	}
	defer body.Close()
	file := bufio.NewReaderSize(body, 64<<10)
	if _, err := file.Peek(len(narMagic)); err != nil && object.Size >= int64(len(narMagic)) {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	i := &inspected{claim: claim, receipt: receipt{object: object}}
	i.retain()
	method, err := methodOf(key, file)
	if err != nil {
		i.refused = err
		return i, nil
	}
	found, err := b.writer.Inspect(ctx, file, method, claim)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if named, ok := key.NameHash(); ok && named != found.FileHash && (found.Broken != nil || named != found.NarHash) {
		found.Close()
		b.damaged.add(object)
		b.log.WarnContext(ctx, "a NAR is damaged", "key", key, "hash", found.FileHash)
		return nil, fmt.Errorf("read %s: %w", key, errDamaged)
	}
	switch {
	case found.Broken != nil:
		i.refused = refuse(NARDiffers, "%s holds no NAR: %v", key, found.Broken).because(found.Broken)
		return i, nil
	case found.TooLong:
		i.refused = refuse(NARDiffers, "the NAR in %s has more than %d bytes", key, claim.NarSize)
		return i, nil
	}
	i.proof, i.free = found.Proofs[0], found.Close
	i.method, i.fileHash, i.narHash, i.narSize, i.listing, i.debug = method, found.FileHash, found.NarHash, found.NarSize, found.Listing, found.Debug
	i.prove = func(other *layout.PathInfo, storeDir string) (layout.Proof, bool) {
		// The Inspected proved one address, and remembers the hash of the NAR.
		return (&layout.Packed{NarHash: found.NarHash}).Prove(other, storeDir)
	}
	return i, nil
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
