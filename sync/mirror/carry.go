package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// carryRoots brings to a destination that is to have nothing of its own what runs pushed
// and which paths were read, so that a tree that is restored from its mirror keeps what
// it kept. Lists that the source has no more stay: they can only keep, and gc lets them
// go. As with the policy, it is not looked for between two buckets.
func (r *run) carryRoots(ctx context.Context) error {
	m := r.mirror
	source, dest := layout.TraitsOf(m.Source), layout.TraitsOf(m.Dest)
	if !m.Delete || r.blind || m.Kinds != nil || source.Encoded || !source.Local && !dest.Local {
		return nil
	}
	for _, prefix := range []string{layout.RootsPrefix, layout.UsedPrefix} {
		var lists []layout.Info
		for info, err := range m.Source.List(ctx, prefix) {
			if err != nil {
				return fmt.Errorf("source: %w", err)
			}
			lists = append(lists, info)
		}
		if len(lists) == 0 {
			continue // the destination is not asked for nothing
		}
		have := map[layout.Key]layout.Info{}
		for info, err := range layout.List(ctx, m.Dest, prefix) {
			if err != nil {
				return &destError{err}
			}
			have[info.Key] = info
		}
		for _, list := range lists {
			// A list is replaced by one that says more. At equal times it may have come
			// after the copy: clocks of files tick some times a second.
			there, ok := have[list.Key]
			if ok && there.Size == list.Size && there.ModTime.After(list.ModTime) {
				continue
			}
			if err := r.carry(ctx, list.Key, ok); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) carry(ctx context.Context, key layout.Key, there bool) error {
	text, err := layout.ReadAll(ctx, r.mirror.Source, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its time was over
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := r.mirror.Dest.Put(ctx, key, layout.Bytes(text), layout.PutOptions{}); err != nil {
		return &destError{err}
	}
	action := ActionCopy
	if there {
		action = ActionReplace
	}
	r.report.event(Event{Action: action, Key: key})
	return nil
}
