package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// extrasAtOnce is how many logs and realisations are on their way: another
// cache takes a round trip for each.
const extrasAtOnce = 16

// extras brings along what belongs to the closure beside its store paths. It
// looks at the paths that the tree had already too, so that a run that was
// killed before this point is completed by the next.
func (im *Run) extras(ctx context.Context, plan *Plan) error {
	infos := slices.Clone(plan.Present)
	for _, step := range plan.Missing {
		infos = append(infos, step.Info)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(extrasAtOnce)
	if source, ok := im.Source.(RealisationSource); ok {
		for _, info := range infos {
			if info.CA != "" && info.Deriver != "" {
				group.Go(func() error { return im.realisations(ctx, source, info) })
			}
		}
	}
	if source, ok := im.Source.(LogSource); ok && im.Logs {
		seen := map[layout.StorePath]bool{"": true}
		for _, info := range infos {
			if drv := info.Deriver; !seen[drv] {
				seen[drv] = true
				group.Go(func() error {
					if err := im.log(ctx, source, drv); err != nil {
						return fmt.Errorf("log of %s: %w", drv, err)
					}
					return nil
				})
			}
		}
	}
	return group.Wait()
}

func (im *Run) realisations(ctx context.Context, source RealisationSource, info layout.PathInfo) error {
	list, err := source.Realisations(ctx, info)
	// A store without content-addressed derivations has nothing to bring along.
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("realisations of %s: %w", info.Path, err)
	}
	for _, r := range list {
		// To sign is to vouch. Clients judge by themselves what is not signed.
		if im.believes(&r) {
			if err := r.Sign(im.Writer.Keys...); err != nil {
				return err
			}
		}
		objects, err := r.Objects()
		if err != nil {
			return err
		}
		wrote := false
		for _, o := range objects {
			err := im.putRealisation(ctx, o, r.OutPath)
			if errors.Is(err, fs.ErrExist) {
				continue // several paths may depend on it
			}
			if err != nil {
				return err
			}
			wrote = true
		}
		if wrote {
			im.Progress.Realisations.Add(1)
		}
	}
	return nil
}

// believes reports whether a trusted key has signed a realisation, its dependents too.
func (im *Run) believes(r *layout.Realisation) bool {
	return im.Trust.Vouches(r.Fingerprint(), r.Sigs) || im.Trust.Vouches(r.TraceFingerprint(), r.TraceSigs)
}

// putRealisation puts a realisation of a path.
func (im *Run) putRealisation(ctx context.Context, o layout.Object, p layout.StorePath) error {
	for {
		rely, err := layout.Rely(ctx, im.Writer.Tree, layout.Sight{}, o.Key, layout.NarInfoKey(p))
		if err != nil {
			return err
		}
		err = im.Writer.Tree.Put(rely.Context(ctx), o.Key, o.Body, layout.PutOptions{IfAbsent: !im.Force})
		rely.Release()
		if !errors.Is(err, layout.ErrLate) {
			return err
		}
	}
}

// log copies one build log. Nothing is wrong where there is none: most paths
// of a store were substituted, not built.
func (im *Run) log(ctx context.Context, source LogSource, drv layout.StorePath) error {
	tree := im.Writer.Tree
	keys := layout.LogKeys(drv)
	if _, err := tree.Stat(ctx, keys[0]); err == nil && !im.Force {
		return nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The key that is looked for comes last: a run that dies before it leaves the
	// rest to the next one.
	for _, key := range slices.Backward(keys) {
		err := im.copyLog(ctx, source, drv, key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	im.Progress.Logs.Add(1)
	return nil
}

func (im *Run) copyLog(ctx context.Context, source LogSource, drv layout.StorePath, key layout.Key) error {
	text, err := source.Log(ctx, drv)
	if err != nil {
		return err
	}
	defer text.Close()
	file, err := layout.SpoolFor(im.Writer.Tree, "").Create()
	if err != nil {
		return err
	}
	defer file.Discard()
	n, err := io.Copy(file, io.LimitReader(text, layout.KindLog.MaxBytes()+1))
	if err == nil && n > layout.KindLog.MaxBytes() {
		err = fmt.Errorf("more than %d bytes", layout.KindLog.MaxBytes())
	}
	if err == nil {
		err = file.Done()
	}
	if err != nil {
		return err
	}
	return im.Writer.Tree.Put(ctx, key, file, layout.PutOptions{})
}

func sortedKeys[V any](m map[layout.StorePath]V) []layout.StorePath {
	keys := make([]layout.StorePath, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
