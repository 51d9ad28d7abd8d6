package pages

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// A Mark of a process in the tree says that paths may have come which the page does not
// show. A process that dies leaves it, and the next writer compares the page with the
// tree.
type Mark struct{ id string }

// Behind reports whether a mark is there: of a process that died, or of one that still
// writes.
func (k *Keeper) Behind(ctx context.Context) (bool, error) {
	_, behind, err := layout.Lookup(ctx, k.Tree, layout.PageBehindKey)
	return behind, err
}

// Begin puts a mark. It takes the place of another one.
func (k *Keeper) Begin(ctx context.Context) (Mark, error) {
	m := Mark{rand.Text()}
	return m, k.Tree.Put(ctx, layout.PageBehindKey, layout.Bytes([]byte(m.id)), layout.PutOptions{})
}

// End removes a mark, unless another one has taken its place: the process that put that
// one removes it.
func (k *Keeper) End(ctx context.Context, m Mark) error {
	text, err := layout.ReadAll(ctx, k.Tree, layout.PageBehindKey)
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(text) != m.id {
		return nil
	}
	if err != nil {
		return err
	}
	return k.drop(ctx, []layout.Key{layout.PageBehindKey})
}
