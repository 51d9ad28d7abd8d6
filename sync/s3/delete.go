package s3

import (
	"context"
	"errors"
	"io/fs"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// Delete removes an object. In a bucket with versions it leaves the older ones,
// as every S3 does.
func (b *Bucket) Delete(ctx context.Context, key layout.Key) error {
	if b.alone.Load() {
		b.writer.Lock()
		defer b.writer.Unlock()
	}
	err := b.retry(ctx, "delete "+string(key), func(int) error {
		return meaning(b.client.Load().RemoveObject(ctx, b.loc.Bucket, b.object(key), minio.RemoveObjectOptions{}))
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b.about("delete", key, err)
	}
	return nil
}
