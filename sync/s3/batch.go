package s3

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

// inFlight is how many objects of a group are put at the same time. Small ones
// gain nothing from more.
const inFlight = 16

// PutBatch stores groups of objects, those of a group at the same time. A body
// is durable when its key appears, not before: a crash between two groups leaves
// the earlier ones, as it would in a directory. After an error the objects of
// its group may be there or not, those of later groups are not.
func (b *Bucket) PutBatch(ctx context.Context, groups ...[]layout.Object) (taken []layout.Key, err error) {
	for _, group := range groups {
		exists := make([]bool, len(group))
		workers, ctx := errgroup.WithContext(ctx)
		workers.SetLimit(inFlight)
		for i, o := range group {
			workers.Go(func() error {
				err := b.Put(ctx, o.Key, o.Body, o.Opts)
				if o.Opts.IfAbsent && errors.Is(err, fs.ErrExist) {
					exists[i] = true
					return nil
				}
				return err
			})
		}
		err := workers.Wait()
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
