package inbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"

	"github.com/nixstatic/nixstatic/layout"
)

// putRealisation takes what an output of a derivation became, in either
// generation. It is true or not whatever paths are there, so it waits for none.
func (b *Inbox) putRealisation(ctx context.Context, key layout.Key, u *upload, o Options) (Outcome, error) {
	text, err := u.readAll()
	if err != nil {
		return 0, err
	}
	if len(text) == 0 {
		return 0, errEmpty
	}
	sent, err := layout.ParseRealisation(key, text)
	if err != nil {
		return 0, refuse(BadRealisation, "bad realisation: %v", err).because(err)
	}
	sent.Sigs, sent.TraceSigs = b.addSigs(nil, sent.Sigs...), b.addSigs(nil, sent.TraceSigs...)
	trusted, err := b.checkSigs(o.Vouched, sent.Sigs, sent.Fingerprints()...)
	if err != nil {
		return 0, err
	}
	traceTrusted, err := b.checkSigs(o.Vouched, sent.TraceSigs, sent.TraceFingerprint())
	if err != nil {
		return 0, err
	}
	if b.cfg.RequireSignature && !trusted && !traceTrusted {
		return 0, refuse(Untrusted, "untrusted: the realisation %.120s is not signed by a key that this cache trusts; sign it before you copy it", key)
	}
	whole, _ := b.known.Check(sent.Sigs, sent.Fingerprint())
	outcome, err := b.mergeRealisation(ctx, key, sent, whole)
	if err != nil {
		return 0, err
	}
	b.dropNote(ctx, key)
	if !o.Strict {
		b.echo(ctx, key, keepBytes(text))
	}
	return outcome, nil
}

// mergeRealisation settles a realisation with the one that is there, in one step
// however many do so at once. Whole says that a known key has signed all of it, its
// dependents too.
func (b *Inbox) mergeRealisation(ctx context.Context, key layout.Key, sent layout.Realisation, whole bool) (Outcome, error) {
	room, err := b.stored.Take(ctx, storedCost*layout.MaxRealisation) // whatever is there
	if err != nil {
		return 0, err
	}
	defer room.Release()
	var outcome Outcome
	var refused error
	change := func(have []byte) (_ []byte, err error) {
		defer func() { refused = err }()
		next := sent
		outcome = Created
		if have != nil {
			outcome = Replaced
			// A realisation that is malformed, or not what was signed, counts as absent.
			if there, err := layout.ParseRealisation(key, have); err == nil && !b.spoiledRealisation(&there) {
				if there.OutPath != sent.OutPath {
					return nil, refuse(Conflict, "conflict: for this realisation the cache has %.100s, which stays", there.OutPath)
				}
				next, outcome = b.joined(there, sent, whole), Merged
			}
		}
		if err := next.Sign(b.writer.Keys...); err != nil {
			return nil, err
		}
		text, err := realisationText(key, next)
		if err != nil {
			return nil, err
		}
		if len(text) > layout.MaxRealisation {
			return nil, tooLarge(layout.KindRealisation, layout.MaxRealisation)
		}
		if outcome == Merged && bytes.Equal(text, have) {
			outcome = Unchanged
			return nil, nil
		}
		return text, nil
	}
	err = b.publishing(ctx, func(ctx context.Context) error { return layout.Update(ctx, b.writer.Tree, key, change) },
		key, layout.NarInfoKey(sent.OutPath))
	if refused != nil {
		return 0, refused
	}
	return outcome, storage(err)
}

// joined returns a realisation with the signatures of both. Nix 2.34 writes no
// dependents, and its signatures hold for the same object with dependents too. A
// realisation gains dependents only if a known key has signed them: an older Nix
// refuses one whose dependents it cannot get, so that anyone could spoil it. If both
// have some, the first list stays, and the signatures that were made for the second go.
func (b *Inbox) joined(have, sent layout.Realisation, whole bool) layout.Realisation {
	next := have
	if len(have.Dependents) == 0 && whole {
		next.Dependents = sent.Dependents
	}
	next.TraceSigs = b.addSigs(have.TraceSigs, sent.TraceSigs...)
	if len(sent.Dependents) == 0 || maps.Equal(next.Dependents, sent.Dependents) {
		next.Sigs = b.addSigs(have.Sigs, sent.Sigs...)
	}
	return next
}

// realisationText returns the object at key.
func realisationText(key layout.Key, r layout.Realisation) ([]byte, error) {
	objects, err := r.Objects()
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		if o.Key == key {
			return io.ReadAll(io.NewSectionReader(o.Body, 0, o.Body.Size()))
		}
	}
	return nil, fmt.Errorf("realisation of %s: not the one at %s", r.OutPath, key)
}
