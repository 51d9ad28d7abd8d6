package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/signer"
)

// SignProgress counts while SignAll runs. Another goroutine may read it.
type SignProgress struct {
	Seen   atomic.Int64 // narinfos read
	Signed atomic.Int64 // narinfos that gained a signature
	// Signing is told of each narinfo before it is read, by several goroutines at
	// once; may be nil.
	Signing func(Key)
	// The same of realisations and build traces.
	Realisations, SignedRealisations atomic.Int64
}

// signJobs is how many narinfos are signed at once: each waits for the disk, or for
// the store.
const signJobs = 16

// SignAll adds the signatures of keys to every narinfo, realisation and build trace of the
// tree that lacks one, keeping the others. With dry it only counts. A narinfo that cannot be read
// stops it: to sign is to vouch. A narinfo that has no room for a signature does
// not stop it, and is told of in the end. Progress may be nil.
func SignAll(ctx context.Context, t Tree, storeDir string, keys []signer.SecretKey, dry bool, progress *SignProgress) error {
	if progress == nil {
		progress = &SignProgress{}
	}
	var mu sync.Mutex
	var full []error
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(signJobs)
	for info, err := range t.List(ctx, "") {
		if err != nil {
			group.Go(func() error { return err })
			break
		}
		sign := signOne
		switch info.Key.Kind() {
		case KindNarInfo:
		case KindRealisation:
			sign = signRealisation
		default:
			continue
		}
		group.Go(func() error {
			if progress.Signing != nil {
				progress.Signing(info.Key)
			}
			signed, err := sign(ctx, t, info.Key, storeDir, keys, dry)
			if err != nil {
				err = fmt.Errorf("sign %s: %w", info.Key, err)
			}
			if errors.Is(err, ErrTooLarge) {
				mu.Lock()
				defer mu.Unlock()
				full = append(full, err)
				return nil
			}
			if err != nil {
				return err
			}
			seen, done := &progress.Seen, &progress.Signed
			if info.Key.Kind() == KindRealisation {
				seen, done = &progress.Realisations, &progress.SignedRealisations
			}
			seen.Add(1)
			if signed {
				done.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if n := len(full); n > 1 {
		return fmt.Errorf("%w, and %d others likewise", full[0], n-1)
	}
	return errors.Join(full...)
}

func signOne(ctx context.Context, t Tree, key Key, storeDir string, keys []signer.SecretKey, dry bool) (bool, error) {
	text, err := ReadAll(ctx, t, key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // withdrawn since it was listed
	}
	if err != nil {
		return false, err
	}
	n, err := ParseNarInfo(text, storeDir)
	if err != nil {
		return false, err
	}
	if NarInfoKey(n.Path) != key {
		return false, fmt.Errorf("it is the narinfo of %s", n.Path)
	}
	before := slices.Clone(n.Sigs)
	if err := n.Sign(storeDir, keys); err != nil {
		return false, err
	}
	if slices.Equal(before, n.Sigs) {
		return false, nil
	}
	if dry {
		return true, nil
	}
	ours := n.Sigs
	for {
		err := addSigsTo(ctx, t, n, storeDir, ours)
		if !errors.Is(err, ErrLate) {
			return true, err
		}
	}
}

// signRealisation signs the realisation or build trace at key. Nix from 2.36 passes over
// one that no trusted key has signed.
func signRealisation(ctx context.Context, t Tree, key Key, _ string, keys []signer.SecretKey, dry bool) (signed bool, err error) {
	sign := func() error {
		return Update(ctx, t, key, func(have []byte) ([]byte, error) {
			signed = false
			if have == nil {
				return nil, nil // withdrawn since it was listed
			}
			next, err := SignRealisation(key, have, keys)
			if signed = next != nil; err != nil || dry {
				return nil, err
			}
			return next, nil
		})
	}
	for {
		rely, err := Rely(ctx, t, Sight{}, key)
		if err != nil {
			return false, err
		}
		err = sign()
		rely.Release()
		if !errors.Is(err, ErrLate) {
			return signed, err
		}
	}
}

// addSigsTo adds signatures to the record of a path, which may have changed since
// it was read.
func addSigsTo(ctx context.Context, t Tree, n *NarInfo, storeDir string, sigs []string) error {
	rely, err := Rely(ctx, t, Sight{}, NarInfoKey(n.Path))
	if err != nil {
		return err
	}
	defer rely.Release()
	return UpdateNarInfo(rely.Context(ctx), t, n.Path, storeDir, func(now *NarInfo) (*NarInfo, error) {
		if now == nil {
			return nil, nil // withdrawn meanwhile
		}
		if !now.SameContent(&n.PathInfo) {
			return nil, fmt.Errorf("it %w", ErrChanged)
		}
		now.AddSigs(sigs...)
		return now, nil
	})
}
