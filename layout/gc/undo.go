package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// ErrNothingWithdrawn says that there is no record of what was to be brought back.
var ErrNothingWithdrawn = errors.New("nothing that was withdrawn is recorded")

// Undone is what an undo did.
type Undone struct {
	Back  []layout.StorePath // that are there again
	There int                // paths that were there already
	// Lost are paths that cannot be brought back, with the reasons.
	Lost map[layout.StorePath]error
}

// Undo brings back what a run withdrew, and all that it refers to, references
// first. Epoch 0 is the last run whose record is left; paths, if there are any,
// are looked for in all runs instead. The paths that come back are young.
//
// Undo publishes like any writer. Dying in between leaves some of the closure,
// without what refers to it.
func Undo(ctx context.Context, t layout.Tree, epoch int64, paths []layout.StorePath) (done Undone, err error) {
	if err := open(ctx, t); err != nil {
		return done, err
	}
	l := &lock.Lock{Tree: t, Try: true}
	err = l.Do(ctx, func(ctx context.Context) error {
		var back []layout.StorePath
		for n := 0; ; n++ {
			u := &undo{tree: t, lost: map[layout.StorePath]error{}, state: map[layout.Key]undoState{}}
			err := u.run(ctx, epoch, paths)
			back = append(back, u.back...)
			if errors.Is(err, layout.ErrRemoved) && n < undoAgain {
				continue // it is looked at again
			}
			done = Undone{back, u.there - (len(back) - len(u.back)), u.lost}
			return err
		}
	})
	return done, err
}

// undoAgain is how often an undo begins anew because something was removed while it
// looked.
const undoAgain = 5

type undoState int

const (
	undoUnseen undoState = iota
	undoBegun            // what it refers to is being looked at
	undoThere
	undoReady
	undoLost
)

type undo struct {
	tree      layout.Tree
	seen      layout.Sight
	storeDir  string
	provision *layout.Provision
	records   map[layout.Key]string // the latest text of each
	state     map[layout.Key]undoState
	order     []*layout.NarInfo // references first
	back      []layout.StorePath
	there     int
	lost      map[layout.StorePath]error
}

func (u *undo) run(ctx context.Context, epoch int64, paths []layout.StorePath) (err error) {
	if u.seen, err = layout.Look(ctx, u.tree); err != nil {
		return err
	}
	info, err := layout.ReadCacheInfo(ctx, u.tree)
	if err != nil {
		return err
	}
	u.storeDir = info.StoreDir
	if u.provision, err = layout.ReadProvision(ctx, u.tree, u.storeDir); err != nil {
		return err
	}
	chosen, err := u.read(ctx, epoch)
	if err != nil {
		return err
	}
	if len(paths) > 0 {
		chosen = nil
		for _, p := range paths {
			key := layout.NarInfoKey(p)
			if _, known := u.records[key]; !known {
				return fmt.Errorf("%s: %w", p, ErrNothingWithdrawn)
			}
			chosen = append(chosen, key)
		}
	}
	if len(chosen) == 0 {
		return ErrNothingWithdrawn
	}
	for _, key := range chosen {
		if _, err := u.visit(ctx, key); err != nil {
			return err
		}
	}
	if err := u.publish(ctx); err != nil {
		return err
	}
	return u.realisations(ctx)
}

// read reads all records, and returns the narinfos of one run.
func (u *undo) read(ctx context.Context, epoch int64) (chosen []layout.Key, err error) {
	records, err := Records(ctx, u.tree)
	if err != nil {
		return nil, err
	}
	if epoch == 0 && len(records) > 0 {
		epoch = records[len(records)-1].Epoch
	}
	u.records = map[layout.Key]string{}
	for _, r := range records {
		for w, err := range r.Read(ctx, u.tree) {
			if err != nil {
				return nil, err
			}
			u.records[w.Key] = w.Text
			if r.Epoch == epoch && w.Key.Kind() == layout.KindNarInfo {
				chosen = append(chosen, w.Key)
			}
		}
	}
	return chosen, nil
}

// A frame is a narinfo whose references are being looked at.
type frame struct {
	key  layout.Key
	n    *layout.NarInfo
	next int
}

// visit finds out what has to come back before a narinfo. The walk keeps its own
// stack: chains of references may be long.
func (u *undo) visit(ctx context.Context, key layout.Key) (undoState, error) {
	var stack []frame
	enter := func(key layout.Key) error {
		if u.state[key] != undoUnseen {
			return nil
		}
		_, there, err := layout.Lookup(ctx, u.tree, key)
		if err != nil {
			return err
		}
		text, recorded := u.records[key]
		switch {
		case there && recorded:
			u.there++
			fallthrough
		case there:
			u.state[key] = undoThere
			return nil
		case !recorded:
			u.state[key] = undoLost
			return nil
		}
		n, err := parseNarInfo(key, []byte(text), u.storeDir)
		if err != nil {
			return err
		}
		u.state[key] = undoBegun
		stack = append(stack, frame{key: key, n: n})
		return nil
	}
	if err := enter(key); err != nil {
		return 0, err
	}
	for len(stack) > 0 {
		top := &stack[len(stack)-1]
		if u.state[top.key] == undoBegun && top.next < len(top.n.References) {
			ref := top.n.References[top.next]
			refKey := layout.NarInfoKey(ref)
			if ref == top.n.Path {
				top.next++
				continue
			}
			switch u.state[refKey] {
			case undoUnseen:
				if err := enter(refKey); err != nil {
					return 0, err
				}
				continue
			case undoThere, undoReady:
			default:
				provided, err := u.provision.Provides(ctx, ref)
				if err != nil {
					return 0, err
				}
				if !provided {
					u.state[top.key] = undoLost
					u.lost[top.n.Path] = fmt.Errorf("it refers to %s, which cannot be brought back", ref)
				}
			}
			top.next++
			continue
		}
		if u.state[top.key] == undoBegun {
			if err := u.ready(ctx, top); err != nil {
				return 0, err
			}
		}
		stack = stack[:len(stack)-1]
	}
	return u.state[key], nil
}

// ready files a narinfo whose references are there, or come before it.
func (u *undo) ready(ctx context.Context, f *frame) error {
	info, err := layout.FindNAR(ctx, u.tree, f.n)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || f.n.FileSize != 0 && f.n.FileSize != info.Size {
		u.state[f.key] = undoLost
		u.lost[f.n.Path] = errors.New("its NAR is gone")
		return nil
	}
	u.state[f.key] = undoReady
	u.order = append(u.order, f.n)
	return nil
}

// undoAtOnce is how many narinfos come back in one batch.
const undoAtOnce = 500

// publish puts the narinfos, references first.
func (u *undo) publish(ctx context.Context) error {
	for batch := range slices.Chunk(u.order, undoAtOnce) {
		for {
			err := u.publishSome(ctx, batch)
			if err == nil {
				break
			}
			if !errors.Is(err, layout.ErrLate) {
				return err
			}
		}
		for _, n := range batch {
			u.back = append(u.back, n.Path)
		}
	}
	return nil
}

// publishSome puts some narinfos. The listing of each is put again before, since the
// age of a path is that of its listing. The error is ErrRemoved if something was
// removed since they were looked at.
func (u *undo) publishSome(ctx context.Context, batch []*layout.NarInfo) error {
	var keys []layout.Key
	for _, n := range batch {
		keys = append(keys, layout.NarInfoKey(n.Path), layout.ListingKey(n.Path))
		if nars, err := n.NARKeys(); err == nil {
			keys = append(keys, nars...)
		}
		for _, ref := range n.References {
			keys = append(keys, layout.NarInfoKey(ref), layout.ProvisionKey(ref))
		}
	}
	rely, err := layout.Rely(ctx, u.tree, u.seen, keys...)
	if err != nil {
		return err
	}
	defer rely.Release()
	if rely.Stale {
		return layout.ErrRemoved
	}
	ctx = rely.Context(ctx)
	level := map[layout.Key]int{}
	var levels [][]layout.Object
	for _, n := range batch {
		if err := layout.PutAgain(ctx, u.tree, layout.ListingKey(n.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		depth := 0
		for _, ref := range n.References {
			if d, ok := level[layout.NarInfoKey(ref)]; ok && ref != n.Path {
				depth = max(depth, d+1)
			}
		}
		key := layout.NarInfoKey(n.Path)
		level[key] = depth
		for len(levels) <= depth {
			levels = append(levels, nil)
		}
		levels[depth] = append(levels[depth], layout.Object{Key: key, Body: layout.Bytes([]byte(u.records[key])), Opts: layout.PutOptions{IfAbsent: true}})
	}
	_, err = layout.PutBatch(ctx, u.tree, levels...)
	return err
}

// realisations brings back those that lead to the paths that came back.
func (u *undo) realisations(ctx context.Context) error {
	came := map[layout.StorePath]bool{}
	for _, p := range u.back {
		came[p] = true
	}
	var objects []layout.Object
	var keys []layout.Key
	for key, text := range u.records {
		if key.Kind() != layout.KindRealisation {
			continue
		}
		if r, err := layout.ParseRealisation(key, []byte(text)); err == nil && came[r.OutPath] {
			objects = append(objects, layout.Object{Key: key, Body: layout.Bytes([]byte(text)), Opts: layout.PutOptions{IfAbsent: true}})
			keys = append(keys, key, layout.NarInfoKey(r.OutPath))
		}
	}
	for {
		rely, err := layout.Rely(ctx, u.tree, layout.Sight{}, keys...)
		if err != nil {
			return err
		}
		_, err = layout.PutBatch(rely.Context(ctx), u.tree, objects)
		rely.Release()
		if !errors.Is(err, layout.ErrLate) {
			return err
		}
	}
}
