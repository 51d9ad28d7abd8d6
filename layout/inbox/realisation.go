package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

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
	trusted, err := b.checkSigs(sent.Sigs, sent.Fingerprints()...)
	if err != nil {
		return 0, err
	}
	traceTrusted, err := b.checkSigs(sent.TraceSigs, sent.TraceFingerprint())
	if err != nil {
		return 0, err
	}
	if b.cfg.RequireSignature && !trusted && !traceTrusted {
		return 0, refuse(Untrusted, "untrusted: the realisation %.120s is not signed by a key that this cache trusts; sign it before you copy it", key)
	}
	outcome, err := b.mergeRealisation(ctx, key, sent)
	if err != nil {
		return 0, err
	}
	b.dropNote(key)
	if !o.Strict {
		b.echo(ctx, key, text)
	}
	return outcome, nil
}

// mergeRealisation settles a realisation with the one that is there, in one step
// however many do so at once.
func (b *Inbox) mergeRealisation(ctx context.Context, key layout.Key, sent layout.Realisation) (Outcome, error) {
	for range 100 {
		opts, outcome := layout.PutOptions{IfAbsent: true}, Created
		next := sent
		have, info, err := b.small(ctx, key, layout.MaxRealisation)
		switch {
		case err == nil:
			opts, outcome = layout.PutOptions{IfMatch: info.ETag}, Replaced
			// One that makes no sense counts as none.
			if there, err := layout.ParseRealisation(key, have); err == nil {
				if there.OutPath != sent.OutPath {
					return 0, refuse(Conflict, "conflict: for this realisation the cache has %.100s, which stays", there.OutPath)
				}
				next, outcome = joined(there, sent), Merged
			}
		case !errors.Is(err, fs.ErrNotExist):
			return 0, err
		}
		if err := next.Sign(b.writer.Keys...); err != nil {
			return 0, err
		}
		text, err := realisationText(key, next)
		if err != nil {
			return 0, err
		}
		if len(text) > layout.MaxRealisation {
			return 0, tooLarge(layout.KindRealisation, layout.MaxRealisation)
		}
		if outcome == Merged && string(text) == string(have) {
			return Unchanged, b.sync(ctx, key)
		}
		err = b.writer.Tree.Put(ctx, key, layout.Bytes(text), opts)
		if errors.Is(err, layout.ErrChanged) || errors.Is(err, fs.ErrExist) {
			continue
		}
		return outcome, storage(err)
	}
	return 0, fmt.Errorf("update %s: %w a hundred times in a row", key, layout.ErrChanged)
}

// joined returns a realisation with the signatures of both. Nix 2.34 writes no
// dependents, and its signatures hold for the same object with dependents too;
// of two lists of dependents the first stays, and the signatures that were made
// for the second go.
func joined(have, sent layout.Realisation) layout.Realisation {
	next := have
	if len(have.Dependents) == 0 {
		next.Dependents = sent.Dependents
	}
	next.TraceSigs = append(slices.Clone(have.TraceSigs), sent.TraceSigs...)
	if len(have.Dependents) == 0 || len(sent.Dependents) == 0 || maps.Equal(have.Dependents, sent.Dependents) {
		next.Sigs = append(slices.Clone(have.Sigs), sent.Sigs...)
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
