package layout

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"
)

// PutSideBySide is PutBatch for trees to which each object is a request of its own: at
// most limit of a group are under way at the same time.
func PutSideBySide(ctx context.Context, t Tree, limit int, groups ...[]Object) (taken []Key, err error) {
	for _, group := range groups {
		exists := make([]bool, len(group))
		sending, ctx := errgroup.WithContext(ctx)
		sending.SetLimit(limit)
		for i, o := range group {
			sending.Go(func() error {
				err := t.Put(ctx, o.Key, o.Body, o.Opts)
				if o.Opts.IfAbsent && errors.Is(err, fs.ErrExist) {
					exists[i] = true
					return nil
				}
				return err
			})
		}
		err := sending.Wait()
		for i, o := range group {
			if exists[i] {
				taken = append(taken, o.Key)
			}
		}
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}
