package inbox

import (
	"context"
	"errors"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// A record is a narinfo on its way into the tree.
type record struct {
	*layout.NarInfo
	key     layout.Key
	nar     layout.Key
	text    []byte // as it was sent
	trusted bool   // by a signature

	waiting bool // it came before, and its client was told that it waits
	echoed  bool // its client looks for the bytes that it sent
}

// A need is an object that has to be there before a narinfo may appear.
type need struct {
	key     layout.Key
	path    layout.StorePath // "" for the NAR
	damaged bool             // the NAR is there, with other bytes
}

// putNarInfo takes a narinfo, which is published, merged, held or refused.
func (b *Inbox) putNarInfo(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	r, err := b.read(key, text, o.Vouched)
	if err != nil {
		return 0, err
	}
	if o.Path != nil {
		*o.Path = r.Path
	}
	r.echoed = !o.Strict
	if err := b.afford(ctx, 0); err != nil {
		return 0, err
	}
	var outcome Outcome
	err = b.reading(ctx, func(ctx context.Context) (err error) {
		outcome, err = b.putRecord(ctx, r, o.Strict)
		return err
	})
	if err != nil {
		return 0, err
	}
	b.finish(ctx)
	return outcome, nil
}

// putRecord publishes or merges a record that just came, or holds it unless its
// client cannot wait.
func (b *Inbox) putRecord(ctx context.Context, r *record, strict bool) (Outcome, error) {
	unlock, err := b.locks.lock(ctx, r.key)
	if err != nil {
		return 0, err
	}
	defer unlock()
	outcome, needs, err := b.place(ctx, r)
	switch {
	case err != nil:
		return 0, err
	case len(needs) == 0:
		b.unhold(r.key)
		return outcome, nil
	case strict:
		return 0, needs[0].refusal(r)
	}
	if outcome, err = b.hold(ctx, r, needs); err != nil {
		return 0, err
	}
	// Another process may have published the path since we looked, and be about to
	// drop what was held without having read ours.
	there, err := b.exists(ctx, r.key)
	if err != nil || !there {
		return outcome, err
	}
	if merged, needs, err := b.place(ctx, r); err != nil || len(needs) == 0 {
		b.unhold(r.key)
		return merged, err
	}
	return outcome, nil
}

// place publishes or merges a record if it is right and nothing is missing;
// otherwise it changes nothing and returns what is missing. The narinfo's lock is
// held.
func (b *Inbox) place(ctx context.Context, r *record) (Outcome, []need, error) {
	unlock, err := b.locks.lock(ctx, r.nar)
	if err != nil {
		return 0, nil, err
	}
	defer unlock()
	for {
		since, err := layout.Look(ctx, b.writer.Tree)
		if err != nil {
			return 0, nil, storage(err)
		}
		outcome, needs, stale, err := b.placeOnce(ctx, r, since)
		switch {
		case errors.Is(err, layout.ErrLate):
			continue
		case err != nil:
			return 0, nil, storage(err)
		case stale:
			continue
		}
		if len(needs) == 0 && outcome != Created {
			err = layout.Renew(ctx, b.writer.Tree, r.Path)
		}
		return outcome, needs, storage(err)
	}
}

// placeOnce is place by what there was to see since a moment. It reports whether
// something was removed from the tree meanwhile: then nothing was changed.
func (b *Inbox) placeOnce(ctx context.Context, r *record, since layout.Sight) (_ Outcome, _ []need, stale bool, err error) {
	f, err := b.examine(ctx, r, since)
	if err != nil {
		return 0, nil, false, err
	}
	defer f.release()
	d := decide(r, f, b.cfg.RequireSignature)
	switch {
	case d.refusal != nil:
		b.dropWrong(ctx, f.sent)
		return 0, nil, false, d.refusal
	case len(d.needs) > 0:
		return 0, d.needs, false, nil
	}
	done, err := b.roomAround(ctx, f, &d)
	if err != nil {
		return 0, nil, false, err
	}
	defer done()
	rely, err := layout.Rely(ctx, b.writer.Tree, since, reliedUpon(r, f, d.merge)...)
	if err != nil {
		return 0, nil, false, storage(err)
	}
	defer rely.Release()
	if rely.Stale {
		return 0, nil, true, nil
	}
	outcome, err := b.apply(rely.Context(ctx), r, f, &d)
	return outcome, nil, false, err
}

// reliedUpon returns all that is not put around a record because it is there, or that
// is put in the place of what may be about to go.
func reliedUpon(r *record, f *facts, merge bool) []layout.Key {
	keys := []layout.Key{r.nar, r.key, layout.ListingKey(r.Path)}
	for _, ref := range r.References {
		if ref != r.Path {
			keys = append(keys, layout.NarInfoKey(ref), layout.ProvisionKey(ref))
		}
	}
	for _, link := range f.links(merge) {
		both := link.Keys()
		keys = append(keys, both[:]...)
	}
	return keys
}

// relying does work while nothing is removed that it rests on: what is put in the
// place of an object that a sweeper is about to remove would go with that.
func (b *Inbox) relying(ctx context.Context, work func() error, keys ...layout.Key) error {
	rely, err := layout.Rely(ctx, b.writer.Tree, layout.Sight{}, keys...)
	if err != nil {
		return storage(err)
	}
	defer rely.Release()
	return work()
}

// publishing is relying for what readers believe, such as a realisation: its requests
// must not arrive late.
func (b *Inbox) publishing(ctx context.Context, work func(context.Context) error, keys ...layout.Key) error {
	for {
		rely, err := layout.Rely(ctx, b.writer.Tree, layout.Sight{}, keys...)
		if err != nil {
			return storage(err)
		}
		err = work(rely.Context(ctx))
		rely.Release()
		if !errors.Is(err, layout.ErrLate) {
			return err
		}
	}
}

// read parses a narinfo and refuses what can be told from it alone.
func (b *Inbox) read(key layout.Key, text []byte, vouched signer.Trusted) (*record, error) {
	storeDir := b.writer.StoreDir
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil {
		if other, err := layout.ParseNarInfo(text, ""); err == nil {
			return nil, refuse(WrongStoreDir, "wrong store directory: this cache is for %.60s, and %.80s is not in it", storeDir, other.Path)
		}
		return nil, refuse(BadNarInfo, "bad narinfo: %v", err).because(err)
	}
	r := &record{NarInfo: n, key: key, text: text}
	if n.Path.Hash() != key.PathHash() {
		return nil, refuse(WrongName, "wrong name: %s was sent with the narinfo of %.100s", key, n.Path)
	}
	if r.nar, err = n.NARKey(); err != nil {
		return nil, refuse(BadURL, "bad URL: %v", err).because(err)
	}
	if sum, err := r.nar.FileHash(); err != nil || !n.FileHash.IsZero() && sum != n.FileHash {
		return nil, refuse(BadURL, "bad URL: %s is not named by the FileHash %s", r.nar, n.FileHash)
	}
	if n.NarSize > b.cfg.MaxNarSize {
		return nil, refuse(NARTooLarge, "too large: the NAR has %d bytes, this cache allows %d", n.NarSize, b.cfg.MaxNarSize)
	}
	if err := n.CheckAddress(storeDir); err != nil {
		return nil, refuse(WrongCA, "wrong CA: %v", err).because(err)
	}
	if bad := n.TakeMisformedSigs(); len(bad) > 0 {
		return nil, refuse(BadSignature, "bad signature: %.100q is not name:base64", bad[0])
	}
	n.Sigs = b.addSigs(nil, n.Sigs...)
	if r.trusted, err = b.checkSigs(vouched, n.Sigs, n.Fingerprint(storeDir)); err != nil {
		return nil, err
	}
	if b.cfg.RequireSignature && !r.trusted && !provable(n) {
		return nil, untrusted(r)
	}
	return r, nil
}
