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
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	pageSize = 1000 // what stores give at most
	// How many keys of a folder are passed over in a listing before it is begun
	// anew behind them. A request more is cheaper than pages of them.
	passOver = 100
)

// List asks for pages of keys, one request a page, and from the second on for
// the next one while a page is used up.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		if !mayBegin(prefix) {
			return
		}
		w := &walk{b: b, prefix: prefix, private: strings.HasPrefix(prefix, layout.PrivatePrefix)}
		w.all(ctx, func(e layout.TopEntry, err error) bool { return yield(e.Info, err) })
	}
}

// ListTop has the store pass over what is in folders.
func (b *Bucket) ListTop(ctx context.Context) iter.Seq2[layout.TopEntry, error] {
	return func(yield func(layout.TopEntry, error) bool) { (&walk{b: b, top: true}).all(ctx, yield) }
}

// A walk is how far a listing came.
type walk struct {
	b       *Bucket
	prefix  string
	private bool // they were asked for
	top     bool // folders are named, what is in them is not wanted

	last   string // name of the last object that was seen
	folder string // that last is in, if what is in it is not wanted
	passed int    // objects in that folder that were seen
}

// all yields everything, the quick way as long as it goes.
func (w *walk) all(ctx context.Context, yield func(layout.TopEntry, error) bool) {
	if !w.b.anonymous && !w.b.first.Load() && !w.pages(ctx, yield) {
		return
	}
	w.rest(ctx, yield)
}

// pages yields pages as long as they can be had the quick way. It reports
// whether the rest is to be listed the slow way.
func (w *walk) pages(ctx context.Context, yield func(layout.TopEntry, error) bool) (rest bool) {
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan *page, 1)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	ask := func(after, token string) {
		asking.Go(func() {
			p, err := w.b.fetchPage(ctx, w.prefix, w.top, after, token)
			if err != nil {
				w.b.log.Debug("list", "prefix", w.prefix, "error", netx.WithoutURL(err))
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
			entry, use, err := w.take(o)
			if err != nil {
				yield(layout.TopEntry{}, w.error(err))
				return false
			}
			if use && !yield(entry, nil) {
				return false
			}
		}
		switch {
		case p.next == "":
			return false
		case n > 1:
		case w.jump():
			ask(w.behind(), "")
		default:
			ask("", p.next)
		}
	}
}

// take judges an object of a page, which must come behind the last one.
func (w *walk) take(o listed) (entry layout.TopEntry, use bool, err error) {
	name, ok := strings.CutPrefix(o.name, w.b.prefix)
	if !ok || !strings.HasPrefix(name, w.prefix) {
		return entry, false, fmt.Errorf("the store lists %q, which was not asked for", o.name)
	}
	if name <= w.last && w.last != "" {
		return entry, false, fmt.Errorf("the store lists %q after %q, which is not in order", name, w.last)
	}
	w.last = name
	if folder := w.unwanted(name); folder != "" {
		w.passed++
		first := folder != w.folder
		if first {
			w.folder, w.passed = folder, 1
		}
		return layout.TopEntry{Folder: folder}, first && w.top && folder != layout.PrivatePrefix, nil
	}
	w.folder = ""
	key, err := layout.ParseKey(name)
	if err != nil || name+"/" == layout.PrivatePrefix {
		return entry, false, nil // a name that no client can ask for, such as that of a folder
	}
	return layout.TopEntry{Info: layout.Info{Key: key, Size: o.size, ModTime: o.modified, ETag: o.etag}}, true, nil
}

// unwanted returns the folder that name is in, if what is in it is not wanted.
func (w *walk) unwanted(name string) string {
	if w.top || !w.private && strings.HasPrefix(name, layout.PrivatePrefix) {
		return name[:strings.IndexByte(name, '/')+1]
	}
	return ""
}

// jump reports whether to begin anew behind what is not wanted.
func (w *walk) jump() bool { return w.folder != "" && w.passed > passOver }

// behind is smaller than no key that follows those of the unwanted folder: the
// slash of the prefix is succeeded by a zero.
func (w *walk) behind() string { return strings.TrimSuffix(w.folder, "/") + "0" }

// error says which listing failed.
func (w *walk) error(err error) error {
	return fmt.Errorf("list %s: %w", w.b.name(layout.Key(w.prefix)), err)
}

// rest yields what comes behind the last object, as the client below has it:
// from stores that give unusual pages, without credentials, and after a failure,
// which is tried again here and explained in the end.
func (w *walk) rest(ctx context.Context, yield func(layout.TopEntry, error) bool) {
	for done := false; !done; {
		start := w.last
		stopped := false
		err := w.b.retry(ctx, "list "+w.prefix, func(int) error {
			var err error
			done, err = w.more(ctx, func(e layout.TopEntry) bool {
				stopped = !yield(e, nil)
				return !stopped
			})
			if again, _ := transient(err); errors.Is(err, errOlder) || again && w.last != start {
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
			yield(layout.TopEntry{}, w.error(err))
			return
		}
	}
}

// more goes on behind the last object until the end, a failure, or more objects
// of an unwanted folder than are worth passing over. It reports whether that was
// all.
func (w *walk) more(ctx context.Context, yield func(layout.TopEntry) bool) (done bool, err error) {
	after := w.last
	if w.jump() {
		after = w.behind()
	}
	w.passed = 0
	for o := range w.b.client.Load().ListObjectsIter(ctx, w.b.loc.Bucket, w.b.listing(w.prefix, after, pageSize)) {
		if o.Err != nil {
			return false, w.b.older(classify(o.Err))
		}
		entry, use, err := w.take(listed{o.Key, o.ETag, o.Size, o.LastModified})
		if err != nil {
			return false, err
		}
		if use && !yield(entry) {
			return true, nil
		}
		if w.jump() {
			return false, nil
		}
	}
	return true, nil
}

func (b *Bucket) listing(prefix, after string, page int) minio.ListObjectsOptions {
	owner := false
	opts := minio.ListObjectsOptions{Prefix: b.prefix + prefix, Recursive: true, MaxKeys: page, FetchOwner: &owner, UseV1: b.first.Load()}
	if after != "" {
		opts.StartAfter = b.prefix + after
	}
	return opts
}

// errOlder says that the store was found to know the first version of listing
// alone, and is to be asked again.
var errOlder = errors.New("the store knows the first version of listing alone")

// older turns the refusal of a listing into errOlder where it may be for the
// version.
func (b *Bucket) older(err error) error {
	if b.first.Load() || !unknown(err) {
		return err
	}
	b.first.Store(true)
	b.log.Debug("listing falls back to its first version", "error", err)
	return errOlder
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
