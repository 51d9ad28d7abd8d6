package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// recordAt returns the narinfo in the tree, nil if there is none that can be
// read: such a one leads nowhere and is written anew.
func (b *Inbox) recordAt(ctx context.Context, key layout.Key) (*layout.NarInfo, error) {
	text, err := layout.ReadAll(ctx, b.writer.Tree, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return b.parseRecord(key, text), nil
}

// parseRecord returns nil for a narinfo that no client could use.
func (b *Inbox) parseRecord(key layout.Key, text []byte) *layout.NarInfo {
	n, err := layout.ParseNarInfo(text, b.writer.StoreDir)
	if err != nil || n.Path.Hash() != key.PathHash() {
		return nil
	}
	return n
}

// leads reports whether the NAR of a record in the tree is there, and not known
// to be damaged.
func (b *Inbox) leads(ctx context.Context, n *layout.NarInfo) (bool, error) {
	key, err := n.NARKey()
	if err != nil {
		return false, nil
	}
	info, err := b.writer.Tree.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && (n.FileSize == 0 || info.Size == n.FileSize) && !b.damaged.has(info), err
}

// statJobs is how many references are looked for at once: each costs a round
// trip, where the tree is far away.
const statJobs = 16

// missingReferences returns those that are neither in the tree nor provided.
func (b *Inbox) missingReferences(ctx context.Context, r *record) ([]need, error) {
	missing := make([]bool, len(r.References))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(statJobs)
	for i, ref := range r.References {
		if ref == r.Path {
			continue
		}
		group.Go(func() error {
			there, err := b.exists(ctx, layout.NarInfoKey(ref))
			if err == nil && !there && b.cfg.Provided != nil {
				there, err = b.cfg.Provided(ctx, ref)
			}
			if err != nil {
				return fmt.Errorf("cannot tell whether %s is provided: %w", ref, err)
			}
			missing[i] = !there
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var needs []need
	for i, ref := range r.References {
		if missing[i] {
			needs = append(needs, need{key: layout.NarInfoKey(ref), path: ref})
		}
	}
	return needs, nil
}
