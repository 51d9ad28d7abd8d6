package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// Renew makes a path young again that is there and that a client wants to keep, if
// the tree is swept and the path is past half of the time for which it stays by
// itself. Age is that of the listing, which signing does not touch; where there is
// none, that of the narinfo. The same bytes are put again. The error is ErrRemoved
// if the path has gone meanwhile; without an error it is there and young.
func Renew(ctx context.Context, t Tree, p StorePath) error {
	return RenewAll(ctx, t, []StorePath{p})[0]
}

const (
	// renewedAtOnce is how many paths are renewed while sweepers are kept out once: few
	// enough that a sweeper does not wait for long.
	renewedAtOnce = 64
	// renewers is how many of them are looked at or put again at the same time: each
	// costs round trips, where the tree is far away.
	renewers = 16
)

// RenewAll is Renew for many paths that were seen to be there, with an error for each.
// It reads the plan once, and after they were seen: in a tree without a plan nothing
// was removed before it is known to have none.
func RenewAll(ctx context.Context, t Tree, paths []StorePath) []error {
	errs := make([]error, len(paths))
	plan, err := knownPlan(ctx, t)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		for i := range errs {
			errs[i] = err
		}
	default:
		for first := 0; first < len(paths); first += renewedAtOnce {
			last := min(first+renewedAtOnce, len(paths))
			renew(ctx, t, plan, paths[first:last], errs[first:last])
		}
	}
	return errs
}

// renew is RenewAll by a plan, behind one gate for all paths.
func renew(ctx context.Context, t Tree, plan SweepPlan, paths []StorePath, errs []error) {
	todo := make([]int, len(paths))
	for i := range paths {
		todo[i] = i
	}
	for len(todo) > 0 {
		var keys []Key
		for _, i := range todo {
			keys = append(keys, NarInfoKey(paths[i]), ListingKey(paths[i]))
		}
		rely, err := Rely(ctx, t, Sight{}, keys...)
		var group errgroup.Group
		group.SetLimit(renewers)
		for _, i := range todo {
			if errs[i] = err; err == nil {
				group.Go(func() error { errs[i] = renewOne(ctx, t, rely, plan, paths[i]); return nil })
			}
		}
		_ = group.Wait()
		rely.Release()
		// Something was changed or removed between two looks, by another writer or by a
		// sweeper: the next look tells by whom.
		todo = slices.DeleteFunc(todo, func(i int) bool {
			return !errors.Is(errs[i], ErrLate) && !errors.Is(errs[i], ErrChanged) && !errors.Is(errs[i], fs.ErrNotExist)
		})
	}
}

func renewOne(ctx context.Context, t Tree, rely *Reliance, plan SweepPlan, p StorePath) error {
	info, err := ageOf(ctx, t, p)
	if err != nil || plan.lasts(info) {
		return err
	}
	return PutAgain(rely.Context(ctx), t, info.Key)
}

// ageOf describes the object by which the age of a path is told. The error is
// ErrRemoved if the path is not there.
func ageOf(ctx context.Context, t Tree, p StorePath) (Info, error) {
	info, there, err := Lookup(ctx, t, NarInfoKey(p))
	if err == nil && !there {
		err = keyError("rely on", NarInfoKey(p), ErrRemoved)
	}
	if err != nil {
		return Info{}, err
	}
	if listing, there, err := Lookup(ctx, t, ListingKey(p)); err != nil || there {
		return listing, err
	}
	return info, nil
}

// Lasting reports whether an object that a client is told of stays for as long as
// an upload takes: it does unless the tree is swept and the object is past half of
// the time for which it stays by itself.
func Lasting(ctx context.Context, t Tree, info Info) (bool, error) {
	plan, err := knownPlan(ctx, t)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return plan.lasts(info), err
}

func (p SweepPlan) lasts(info Info) bool {
	return p.KeepYoung == 0 || time.Since(info.ModTime) < time.Duration(p.KeepYoung)*time.Second/2
}

// PutAgain replaces an object by its own bytes, so that it is younger.
func PutAgain(ctx context.Context, t Tree, key Key) error {
	body, info, err := t.Get(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	file, err := SpoolFor(t, "").Create()
	if err != nil {
		return err
	}
	defer file.Discard()
	if _, err := io.Copy(file, io.LimitReader(&contextReader{ctx, body}, key.Kind().MaxBytes())); err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	if err := file.Done(); err != nil {
		return err
	}
	return t.Put(ctx, key, file, PutOptions{IfMatch: info.ETag})
}
