package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	// bulk is how many keys a request may remove.
	bulk = 1000
	// removing is how many such requests are under way at once.
	removing = 4
)

// Delete removes an object. In a bucket with versions it leaves the older ones,
// as every S3 does.
func (b *Bucket) Delete(ctx context.Context, key layout.Key) error {
	if b.alone.Load() {
		b.writer.Lock()
		defer b.writer.Unlock()
	}
	var lost atomic.Bool
	return b.lost(ctx, &lost, b.deleteOne(ctx, key, &lost))
}

// lost adds to an error that an attempt got no answer. If another attempt got one,
// only a sweeper has to know, whose requests have a time.
func (b *Bucket) lost(ctx context.Context, lost *atomic.Bool, err error) error {
	switch {
	case !lost.Load() || err == nil && !layout.Timed(ctx) || errors.Is(err, layout.ErrUnanswered):
		return err
	case err == nil:
		return fmt.Errorf("%s: %w", b.loc, layout.ErrUnanswered)
	}
	return fmt.Errorf("%w; %w", err, layout.ErrUnanswered)
}

func (b *Bucket) deleteOne(ctx context.Context, key layout.Key, lost *atomic.Bool) error {
	err := b.retry(ctx, "delete "+string(key), func(int) error {
		return answered(classify(b.client.Load().RemoveObject(ctx, b.loc.Bucket, b.object(key), minio.RemoveObjectOptions{})), lost)
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b.about("delete", key, err)
	}
	return nil
}

// answered notes a request that may still happen: one that got no answer, or one
// from a server before the store that knows of none.
func answered(err error, lost *atomic.Bool) error {
	var e *refusal
	switch {
	case err == nil, errors.Is(err, layout.ErrLate):
	case errors.As(err, &e) && e.code != "InternalError" && (e.status < 500 || e.code == "SlowDown" || e.code == "NotImplemented"):
	default:
		lost.Store(true)
	}
	return err
}

// DeleteBatch removes groups of objects, a thousand with a request. The requests
// of a group have no order; those of the next wait for their answers.
func (b *Bucket) DeleteBatch(ctx context.Context, groups ...[]layout.Key) error {
	if b.alone.Load() {
		b.writer.Lock()
		defer b.writer.Unlock()
	}
	var lost atomic.Bool
	for _, group := range groups {
		workers, ctx := errgroup.WithContext(ctx)
		workers.SetLimit(removing)
		for some := range slices.Chunk(group, bulk) {
			workers.Go(func() error {
				if len(some) == 1 {
					return b.deleteOne(ctx, some[0], &lost)
				}
				return b.deleteSome(ctx, some, &lost)
			})
		}
		if err := workers.Wait(); err != nil {
			return b.lost(ctx, &lost, err)
		}
	}
	return b.lost(ctx, &lost, nil)
}

// deleteSome removes objects with one request, or one by one in a store that does
// not know how.
func (b *Bucket) deleteSome(ctx context.Context, keys []layout.Key, lost *atomic.Bool) error {
	if !b.single.Load() {
		err := b.retry(ctx, fmt.Sprintf("delete %d objects", len(keys)), func(int) error {
			var err error
			keys, err = b.deleteAtOnce(ctx, keys)
			return answered(err, lost)
		})
		if err == nil {
			return nil
		}
		if !unknown(err) {
			return fmt.Errorf("delete %d objects of %s: %w", len(keys), b.loc, err)
		}
		b.single.Store(true)
		b.log.Debug("the store removes one object with a request", "error", err)
	}
	workers, ctx := errgroup.WithContext(ctx)
	workers.SetLimit(inFlight)
	for _, key := range keys {
		workers.Go(func() error { return b.deleteOne(ctx, key, lost) })
	}
	return workers.Wait()
}

// deleteAtOnce makes one request, and returns the keys that are left.
func (b *Bucket) deleteAtOnce(ctx context.Context, keys []layout.Key) ([]layout.Key, error) {
	objects := func(yield func(minio.ObjectInfo) bool) {
		for _, key := range keys {
			if !yield(minio.ObjectInfo{Key: b.object(key)}) {
				return
			}
		}
	}
	results, err := b.client.Load().RemoveObjectsWithIter(ctx, b.loc.Bucket, objects, minio.RemoveObjectsOptions{})
	if err != nil {
		return keys, lower(err)
	}
	left := map[string]bool{}
	for _, key := range keys {
		left[b.object(key)] = true
	}
	for r := range results {
		failed := classify(r.Err)
		if failed == nil || errors.Is(failed, fs.ErrNotExist) {
			delete(left, r.ObjectName)
		} else if err == nil || transientOnly(err) {
			err = failed
		}
	}
	keys = slices.DeleteFunc(slices.Clone(keys), func(key layout.Key) bool { return !left[b.object(key)] })
	if err == nil && len(keys) > 0 {
		// The answer does not name them: whether they are gone is not known.
		err = fmt.Errorf("the answer does not name %d of the keys: %w", len(keys), io.ErrUnexpectedEOF)
	}
	if err == nil {
		err = ctx.Err()
	}
	return keys, err
}

// transientOnly reports whether an error may pass: one that does not is told first.
func transientOnly(err error) bool {
	again, _ := transient(err)
	return again
}
