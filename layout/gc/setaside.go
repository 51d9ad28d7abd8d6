package gc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// An Aside is an object that is to leave the part of a tree that clients read.
type Aside struct {
	Object layout.Info // the version that was looked at
	Why    string      // in words
}

// asideTurn is how many objects are set aside while writers wait.
const asideTurn = 500

// SetAside moves objects into the quarantine of a tree, see layout.QuarantineKey.
// The bytes of each are there, with the reason beside them, before the object goes.
// Groups go one after the other: a narinfo before those that it refers to (I3), and
// before its NAR (I2). An object that another process changed meanwhile stays, and so
// does one that needed reports: it is asked while no writer is publishing.
//
// The caller holds the lock of the tree. In a bucket, where no lock holds off a writer,
// no other program may publish meanwhile.
func SetAside(ctx context.Context, t layout.Tree, groups [][]Aside, needed func(context.Context) (map[layout.Key]bool, error)) (went []layout.Key, err error) {
	if err := open(ctx, t); err != nil && !errors.Is(err, layout.ErrNoGate) {
		return nil, err
	}
	for _, group := range groups {
		for some := range slices.Chunk(group, asideTurn) {
			kept := make([]string, len(some))
			for i, o := range some {
				if kept[i], err = keepAside(ctx, t, o); err != nil {
					return went, err
				}
			}
			keys, err := dropAside(ctx, t, some, kept, needed)
			if err != nil {
				return went, err
			}
			went = append(went, keys...)
		}
	}
	return went, nil
}

// keepAside puts an object into the quarantine, and returns the version that it has
// there: a file that has a second name by now has another version than before.
func keepAside(ctx context.Context, t layout.Tree, o Aside) (version string, err error) {
	const names = 1000 // of one key, each with other bytes
	for n := range names {
		to := layout.QuarantineKey(o.Object.Key, n)
		err := layout.Copy(ctx, t, o.Object, to)
		if errors.Is(err, layout.ErrChanged) || errors.Is(err, fs.ErrNotExist) {
			return "", nil // dropAside finds out, too
		}
		if errors.Is(err, fs.ErrExist) {
			same, err := sameObjects(ctx, t, o.Object.Key, to)
			if err != nil {
				return "", err
			}
			if !same {
				continue
			}
		} else if err != nil {
			return "", fmt.Errorf("set %s aside: %w", o.Object.Key, err)
		}
		if err := t.Put(ctx, layout.QuarantineReason(to), layout.Bytes([]byte(o.Why+"\n")), layout.PutOptions{}); err != nil {
			return "", err
		}
		info, err := t.Stat(ctx, to)
		return info.ETag, err
	}
	return "", fmt.Errorf("set %s aside: the quarantine has %d objects of that name", o.Object.Key, names)
}

func sameObjects(ctx context.Context, t layout.Tree, a, b layout.Key) (bool, error) {
	first, x, err := t.Get(ctx, a)
	if err != nil {
		return false, err
	}
	defer first.Close()
	second, y, err := t.Get(ctx, b)
	if err != nil {
		return false, err
	}
	defer second.Close()
	if x.Size != y.Size {
		return false, nil
	}
	return layout.EqualBytes(first, second)
}

// dropAside removes what is in the quarantine. Dying in it leaves some objects in both
// places.
func dropAside(ctx context.Context, t layout.Tree, some []Aside, kept []string, needed func(context.Context) (map[layout.Key]bool, error)) (went []layout.Key, err error) {
	leave, err := layout.Exclude(ctx, t)
	switch {
	case errors.Is(err, layout.ErrNoGate): // late requests are kept out by other means
	case err != nil:
		return nil, err
	default:
		defer leave()
		if err := changePlan(ctx, t); err != nil {
			return nil, err
		}
	}
	stay, err := needed(ctx)
	if err != nil {
		return nil, err
	}
	for i, o := range some {
		now, there, err := layout.Lookup(ctx, t, o.Object.Key)
		if err != nil {
			return nil, err
		}
		if there && (now.ETag == o.Object.ETag || now.ETag == kept[i]) && !stay[o.Object.Key] {
			went = append(went, o.Object.Key)
		}
	}
	return went, layout.DeleteBatch(ctx, t, went)
}

// changePlan tells writers that something is about to be removed.
func changePlan(ctx context.Context, t layout.Tree) error {
	plan, err := layout.ReadSweepPlan(ctx, t)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	plan.Nonce, plan.By = rand.Text(), process()
	text, err := encode(plan)
	if err != nil {
		return err
	}
	return t.Put(ctx, layout.PlanKey, layout.Bytes(text), layout.PutOptions{})
}

// PutBack drops what is in the quarantine and is back at its place.
func PutBack(ctx context.Context, t layout.Tree, keys []layout.Key) error {
	var drop []layout.Key
	for _, key := range keys {
		drop = append(drop, key, layout.QuarantineReason(key))
	}
	return layout.DeleteBatch(ctx, t, drop)
}
