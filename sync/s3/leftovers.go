package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// Leftovers yields the unfinished uploads of NARs that were begun before a
// moment. A process may be at work on younger ones.
//
// The error is errors.ErrUnsupported if the store does not tell of them.
//
// MinIO tells of all unfinished uploads only since it was started, and removes
// them itself after a day.
func (b *Bucket) Leftovers(ctx context.Context, before time.Time) iter.Seq2[layout.Leftover, error] {
	return func(yield func(layout.Leftover, error) bool) {
		seen := map[string]bool{}
		// Amazon tells what is below a prefix. MinIO takes the prefix for a whole
		// key, and tells everything if there is none.
		prefixes := []string{b.prefix + layout.NARFolder, ""}
		for i, prefix := range prefixes {
			for u, err := range b.uploads(ctx, prefix) {
				if err != nil {
					if i > 0 && ctx.Err() == nil {
						return // who shares a bucket need not be told of the others
					}
					if unknown(err) || errors.Is(err, fs.ErrPermission) {
						err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
					}
					yield(layout.Leftover{}, fmt.Errorf("list unfinished uploads of %s: %w", b.loc, err))
					return
				}
				name, ours := strings.CutPrefix(u.Key, b.prefix)
				key, err := layout.ParseKey(name)
				if !ours || err != nil || !key.Kind().Immutable() || seen[u.UploadID] || !u.Initiated.Before(before) {
					continue
				}
				seen[u.UploadID] = true
				if !yield(layout.Leftover{Key: key, Started: u.Initiated, ID: u.UploadID}, nil) {
					return
				}
			}
		}
	}
}

// RemoveLeftover removes a leftover. It succeeds if the leftover is gone already.
func (b *Bucket) RemoveLeftover(ctx context.Context, l layout.Leftover) error {
	if err := b.abort(ctx, l.Key, l.ID); err != nil {
		return b.about("remove parts of", l.Key, err)
	}
	return nil
}

// leftParts returns the unfinished upload of a key that was begun last, or nil.
func (b *Bucket) leftParts(ctx context.Context, key layout.Key) *minio.ObjectMultipartInfo {
	var latest *minio.ObjectMultipartInfo
	for u, err := range b.uploads(ctx, b.object(key)) {
		if err != nil {
			b.log.Debug("unfinished uploads cannot be listed", "key", string(key), "error", err)
			return nil
		}
		if u.Key == b.object(key) && (latest == nil || u.Initiated.After(latest.Initiated)) {
			latest = &u
		}
	}
	return latest
}

// uploads yields the unfinished uploads of objects with a prefix.
func (b *Bucket) uploads(ctx context.Context, prefix string) iter.Seq2[minio.ObjectMultipartInfo, error] {
	return func(yield func(minio.ObjectMultipartInfo, error) bool) {
		var key, id string
		for {
			var page minio.ListMultipartUploadsResult
			err := b.retry(ctx, "list unfinished uploads", func(int) (err error) {
				page, err = b.client.Load().ListMultipartUploads(ctx, b.loc.Bucket, prefix, key, id, "", pageSize)
				return classify(err)
			})
			if err != nil {
				yield(minio.ObjectMultipartInfo{}, err)
				return
			}
			for _, u := range page.Uploads {
				if !yield(u, nil) {
					return
				}
			}
			if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
				return
			}
			key, id = page.NextKeyMarker, page.NextUploadIDMarker
		}
	}
}
