package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// maxCopy is how many bytes a store copies with one request. Larger ones
// go through this machine.
const maxCopy = 5 << 30

// CopyObject has the store copy an object, with the guarantees of layout.Copier. The
// request has no condition for the new key, which is looked at before: callers give it a
// name that promises its bytes, or one of their own.
func (b *Bucket) CopyObject(ctx context.Context, from layout.Info, to layout.Key) error {
	if from.Size > maxCopy || to.Kind() == layout.KindForeign {
		return errors.ErrUnsupported
	}
	if b.loc.ProveFirst {
		if _, err := b.Prove(ctx); err != nil {
			return err
		}
	}
	if _, there, err := layout.Lookup(ctx, b, to); err != nil {
		return err
	} else if there {
		return fmt.Errorf("%s: copy to %s: %w", b.loc, to, fs.ErrExist)
	}
	headers := b.headers(to)
	meta := map[string]string{"Content-Type": headers.ContentType, "Cache-Control": headers.CacheControl}
	if headers.StorageClass != "" {
		meta["X-Amz-Storage-Class"] = headers.StorageClass
	}
	err := b.retry(ctx, "copy "+string(from.Key), func(int) error {
		_, err := b.client.Load().Client.CopyObject(ctx,
			minio.CopyDestOptions{Bucket: b.loc.Bucket, Object: b.object(to), UserMetadata: meta, ReplaceMetadata: true},
			minio.CopySrcOptions{Bucket: b.loc.Bucket, Object: b.object(from.Key), MatchETag: from.ETag})
		return classify(err)
	})
	switch {
	case errors.Is(err, errPrecondition):
		err = layout.ErrChanged
	case err != nil && refusesCopy(err):
		return errors.ErrUnsupported
	}
	if err != nil {
		return b.about("copy", from.Key, err)
	}
	return nil
}

// refusesCopy reports whether a store does not know the request.
func refusesCopy(err error) bool {
	var e *refusal
	return errors.As(err, &e) && (e.code == "NotImplemented" || e.status == 501 || e.status == 405)
}
