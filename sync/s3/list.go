package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	pageSize = 1000 // what stores give at most
	// How many private keys are passed over in a listing before it is begun anew
	// behind them. A request more is cheaper than pages of them.
	passOver = 100
	// behindPrivate is smaller than no key that follows the private ones: the
	// slash of the prefix is succeeded by a zero.
	behindPrivate = ".nixstatic0"
)

// List asks for pages of keys as they are used up, one request a page.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		if !mayBegin(prefix) {
			return
		}
		after, done, stopped := "", false, false
		page := func(info layout.Info) bool {
			stopped = !yield(info, nil)
			return !stopped
		}
		for !done {
			start := after
			err := b.retry(ctx, "list "+prefix, func(int) error {
				var err error
				after, done, err = b.list(ctx, prefix, after, page)
				if again, _ := transient(err); again && after != start {
					return nil // what failed is a new request, with attempts of its own
				}
				return err
			})
			if stopped {
				return
			}
			if err == nil {
				// The client ends a listing that was cancelled without an error.
				err = ctx.Err()
			}
			if errors.Is(err, fs.ErrNotExist) {
				return // the store takes no keys that begin so
			}
			if err != nil {
				yield(layout.Info{}, fmt.Errorf("list %s: %w", b.name(layout.Key(prefix)), err))
				return
			}
		}
	}
}

// list yields what comes after a key. It returns how far it came, and whether
// that was all that is wanted.
func (b *Bucket) list(ctx context.Context, prefix, after string, yield func(layout.Info) bool) (last string, done bool, err error) {
	private := strings.HasPrefix(prefix, layout.PrivatePrefix)
	passed := 0
	last = after
	for o := range b.client.Load().ListObjectsIter(ctx, b.loc.Bucket, b.listing(prefix, after, pageSize)) {
		if o.Err != nil {
			return last, false, meaning(o.Err)
		}
		name, ok := strings.CutPrefix(o.Key, b.prefix)
		if !ok || !strings.HasPrefix(name, prefix) {
			return last, false, fmt.Errorf("the store lists %q, which was not asked for", o.Key)
		}
		if name <= last && last != "" {
			return last, false, fmt.Errorf("the store lists %q after %q, which is not in order", name, last)
		}
		last = name
		key, err := layout.ParseKey(name)
		if err != nil {
			continue // a name that no client can ask for, such as that of a folder
		}
		if !private && key.Kind() == layout.KindPrivate {
			if passed++; passed > passOver {
				return behindPrivate, false, nil
			}
			continue
		}
		if !yield(layout.Info{Key: key, Size: o.Size, ModTime: o.LastModified, ETag: o.ETag}) {
			return last, true, nil
		}
	}
	return last, true, nil
}

func (b *Bucket) listing(prefix, after string, page int) minio.ListObjectsOptions {
	owner := false
	opts := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true, MaxKeys: page, FetchOwner: &owner}
	if after != "" {
		opts.StartAfter = b.prefix + after
	}
	return opts
}

// mayBegin reports whether a key can begin so. Stores refuse some of the other
// prefixes instead of finding nothing.
func mayBegin(prefix string) bool {
	if !utf8.ValidString(prefix) {
		return false
	}
	parts := strings.Split(prefix, "/")
	for _, part := range parts[:len(parts)-1] {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
