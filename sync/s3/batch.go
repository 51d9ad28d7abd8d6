package s3

import (
	"context"

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
	return layout.PutSideBySide(ctx, b, inFlight, groups...)
}
