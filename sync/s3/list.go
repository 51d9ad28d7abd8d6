package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"
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

// List asks for pages of keys, one request a page, and from the second on for
// the next one while a page is used up.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		if !mayBegin(prefix) {
			return
		}
		w := &walk{b: b, prefix: prefix, private: strings.HasPrefix(prefix, layout.PrivatePrefix)}
		if !b.anonymous && !w.pages(ctx, yield) {
			return
		}
		w.rest(ctx, yield)
	}
}

// A walk is how far a listing came.
type walk struct {
	b       *Bucket
	prefix  string
	private bool   // they were asked for
	last    string // name of the last object that was seen
	passed  int    // private objects in a row that were not asked for
}

// pages yields pages as long as they can be had the quick way. It reports
// whether the rest is to be listed the slow way.
func (w *walk) pages(ctx context.Context, yield func(layout.Info, error) bool) (rest bool) {
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan *page, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	ask := func(after, token string) {
		asking.Go(func() {
			p, err := w.b.fetchPage(ctx, w.prefix, after, token)
			if err != nil {
				w.b.log.Debug("list", "prefix", w.prefix, "error", withoutURL(err))
				p = nil
			}
			ahead <- p
		})
	}
	ask("", "")
	for n := 1; ; n++ {
		p := <-ahead
		if p == nil {
			return true
		}
		if n > 1 && p.next != "" {
			ask("", p.next)
		}
		for _, o := range p.objects {
			info, use, err := w.take(o)
			if err != nil {
				yield(layout.Info{}, w.error(err))
				return false
			}
			if use && !yield(info, nil) {
				return false
			}
		}
		switch {
		case p.next == "":
			return false
		case n > 1:
		case w.jump():
			ask(behindPrivate, "")
		default:
			ask("", p.next)
		}
	}
}

// take judges an object of a page, which must come behind the last one.
func (w *walk) take(o listed) (info layout.Info, use bool, err error) {
	name, ok := strings.CutPrefix(o.name, w.b.prefix)
	if !ok || !strings.HasPrefix(name, w.prefix) {
		return info, false, fmt.Errorf("the store lists %q, which was not asked for", o.name)
	}
	if name <= w.last && w.last != "" {
		return info, false, fmt.Errorf("the store lists %q after %q, which is not in order", name, w.last)
	}
	w.last = name
	key, err := layout.ParseKey(name)
	if err != nil {
		return info, false, nil // a name that no client can ask for, such as that of a folder
	}
	if !w.private && key.Kind() == layout.KindPrivate {
		w.passed++
		return info, false, nil
	}
	w.passed = 0
	return layout.Info{Key: key, Size: o.size, ModTime: o.modified, ETag: o.etag}, true, nil
}

// error says which listing failed.
func (w *walk) error(err error) error {
	return fmt.Errorf("list %s: %w", w.b.name(layout.Key(w.prefix)), err)
}

// rest yields what comes behind the last object, as the client below has it:
// from stores that give unusual pages, without credentials, and after a failure,
// which is tried again here and explained in the end.
func (w *walk) rest(ctx context.Context, yield func(layout.Info, error) bool) {
	for done := false; !done; {
		start := w.last
		stopped := false
		err := w.b.retry(ctx, "list "+w.prefix, func(int) error {
			var err error
			done, err = w.more(ctx, func(info layout.Info) bool {
				stopped = !yield(info, nil)
				return !stopped
			})
			if again, _ := transient(err); again && w.last != start {
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
			yield(layout.Info{}, w.error(err))
			return
		}
	}
}

// more goes on behind the last object until the end, a failure, or more private
// objects than are worth passing over. It reports whether that was all.
func (w *walk) more(ctx context.Context, yield func(layout.Info) bool) (done bool, err error) {
	after := w.last
	if w.jump() {
		after = behindPrivate
	}
	w.passed = 0
	for o := range w.b.client.Load().ListObjectsIter(ctx, w.b.loc.Bucket, w.b.listing(w.prefix, after, pageSize)) {
		if o.Err != nil {
			return false, meaning(o.Err)
		}
		info, use, err := w.take(listed{o.Key, o.ETag, o.Size, o.LastModified})
		if err != nil {
			return false, err
		}
		if w.jump() {
			return false, nil
		}
		if use && !yield(info) {
			return true, nil
		}
	}
	return true, nil
}

// jump reports whether to begin anew behind the private objects.
func (w *walk) jump() bool { return w.passed > passOver && w.last < behindPrivate }

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
