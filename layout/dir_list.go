package layout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout/parallel"
)

// List walks the directory. Names are sorted as whole keys: a file "nar-x"
// comes before what is in the directory "nar", as an object store has it.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return d.ListNames(ctx, prefix, nil)
}

var _ NameLister = (*Dir)(nil)

// ListNames does not look at files whose name is enough.
func (d *Dir) ListNames(ctx context.Context, prefix string, named func(Key) bool) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		w := &dirWalk{ctx: ctx, prefix: prefix, named: named, yield: func(e TopEntry, err error) bool { return yield(e.Info, err) }}
		d.list(w, prefix[:strings.LastIndexByte(prefix, '/')+1])
	}
}

var _ TopLister = (*Dir)(nil)

// ListTop reads the directory alone, and none below.
func (d *Dir) ListTop(ctx context.Context) iter.Seq2[TopEntry, error] {
	return func(yield func(TopEntry, error) bool) {
		d.list(&dirWalk{ctx: ctx, top: true, yield: yield}, "")
	}
}

func (d *Dir) list(w *dirWalk, dir string) {
	_, err := d.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.fail(dir, err)
		return
	}
	if dir != "" {
		if _, err := ParseKey(strings.TrimSuffix(dir, "/")); err != nil {
			return // it cannot be the beginning of a key
		}
	}
	w.dir = d
	w.walk(dir)
}

// A dirWalk is one listing.
type dirWalk struct {
	ctx    context.Context
	dir    *Dir
	prefix string
	top    bool           // folders are named instead of walked
	named  func(Key) bool // whose name is enough; nil for none
	yield  func(TopEntry, error) bool
}

func (w *dirWalk) fail(name string, err error) bool {
	return w.yield(TopEntry{}, fmt.Errorf("list %s: %w", cmp.Or(name, "the cache"), err))
}

// walk yields what is below dir, "" or a path below the tree's directory that ends
// in a slash. It reports whether to go on.
func (w *dirWalk) walk(dir string) bool {
	var here *os.Root
	err := w.dir.within(path.Clean(dir), func(root *os.Root, name string) (err error) {
		here, err = openFolder(root, name)
		return err
	})
	var open *os.File
	var names *nameList
	if err == nil {
		defer here.Close()
		if open, err = here.Open("."); err == nil {
			defer open.Close()
			names, err = w.names(here, open, dir)
		}
	}
	if errors.Is(absent(err), fs.ErrNotExist) {
		return true // removed a moment ago, perhaps while it was read
	}
	if err != nil {
		return w.fail(dir, err)
	}
	for name, seen := range w.look(here, open, dir, names) {
		if err := w.ctx.Err(); err != nil {
			w.yield(TopEntry{}, err)
			return false
		}
		if strings.HasSuffix(name, "/") {
			if w.top {
				if !w.yield(TopEntry{Folder: name}, nil) {
					return false
				}
			} else if !w.walk(dir + name) {
				return false
			}
			continue
		}
		key, err := ParseKey(dir + name)
		if err != nil {
			continue // a name that no client can ask for
		}
		info, err := seen.info, seen.err
		info.Key = key
		if err == nil && !seen.file {
			// A link, a pipe or a device is listed as a reader finds it. If it cannot
			// be read, that matters for the keys of a cache alone.
			var st fs.FileInfo
			if st, err = w.dir.stat(string(key)); err == nil {
				err = regular(st)
			}
			if err == nil {
				info = infoOf(key, st)
			}
			if err != nil && key.Kind() == KindForeign {
				continue
			}
		}
		if errors.Is(absent(err), fs.ErrNotExist) {
			continue
		}
		if err != nil {
			if !w.fail(dir+name, &EntryError{key, err}) {
				return false
			}
			continue
		}
		if !w.yield(TopEntry{Info: info}, nil) {
			return false
		}
	}
	if err := w.ctx.Err(); err != nil { // then some were not looked at
		w.yield(TopEntry{}, err)
		return false
	}
	return true
}

// A seen is what a name in a directory stands for, links not followed.
type seen struct {
	info  Info // without its key
	file  bool // it is a regular file
	named bool // its name is enough
	err   error
}

// atOnce is how many files are looked at by one goroutine.
const atOnce = 256

// look yields names, and what those of files stand for. Several goroutines look ahead.
func (w *dirWalk) look(here *os.Root, open *os.File, dir string, names *nameList) iter.Seq2[string, seen] {
	type some struct {
		names []string
		seen  []seen
	}
	chunks := func(yield func(some) bool) {
		var chunk some
		for name := range names.take() {
			s := seen{}
			if !strings.HasSuffix(name, "/") && w.named != nil && w.named(Key(dir+name)) {
				s.file, s.named = true, true
			}
			chunk.names, chunk.seen = append(chunk.names, name), append(chunk.seen, s)
			if len(chunk.names) == atOnce {
				if !yield(chunk) {
					return
				}
				chunk = some{}
			}
		}
		if len(chunk.names) > 0 {
			yield(chunk)
		}
	}
	return func(yield func(string, seen) bool) {
		for some := range parallel.Map(w.ctx, runtime.GOMAXPROCS(0), chunks, func(_ context.Context, s some) some {
			for i, name := range s.names {
				if !s.seen[i].named && !strings.HasSuffix(name, "/") {
					s.seen[i] = lookAt(here, open, name)
				}
			}
			return s
		}) {
			for i, name := range some.names {
				if !yield(name, some.seen[i]) {
					return
				}
			}
		}
	}
}

// An EntryError tells of an object that is there and that cannot be described. The
// listing goes on after it.
type EntryError struct {
	Key Key
	Err error
}

func (e *EntryError) Error() string { return e.Err.Error() }
func (e *EntryError) Unwrap() error { return e.Err }

// names returns what of a directory may belong to the listing, with a slash behind the
// names of directories. A directory that is called like a narinfo, a listing or a NAR
// is nothing of ours: what has such a name is taken for a file, so that most names
// need no second look.
func (w *dirWalk) names(here *os.Root, open *os.File, dir string) (*nameList, error) {
	var list nameList
	err := eachName(open, func(name string) error {
		full := dir + name
		if dir == StagingPrefix && strings.HasSuffix(name, lockSuffix) {
			return nil // not an unfinished file
		}
		switch Key(full).Kind() {
		case KindNarInfo, KindListing, KindNAR:
		default:
			st, err := here.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if st.IsDir() || st.Mode()&fs.ModeSymlink != 0 && isFolderOfKeys(full) {
				full += "/"
				if name == besideDir || full == PrivatePrefix && !strings.HasPrefix(w.prefix, PrivatePrefix) {
					return nil
				}
			}
		}
		if strings.HasPrefix(full, w.prefix) {
			list.add(full[len(dir):])
		}
		return nil
	})
	return &list, err
}

// isFolderOfKeys reports whether a link of that name may stand for a folder that
// has keys below it. Links to folders are followed nowhere else, so that a listing
// ends.
func isFolderOfKeys(name string) bool {
	return IsPublicFolder(name+"/") || name+"/" == PrivatePrefix ||
		Key(name+"/x.doi").Kind() == KindRealisation
}

// readNames returns the names in a directory, sorted. Their types are not asked
// for: below a Root, the library would look at each file for that.
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return namesIn(f)
}

func namesIn(f *os.File) ([]string, error) {
	var names []string
	err := eachName(f, func(name string) error {
		names = append(names, name)
		return nil
	})
	slices.Sort(names)
	return names, err
}

// eachName tells the names in a directory, in no order.
func eachName(f *os.File, told func(name string) error) error {
	for {
		some, err := f.Readdirnames(4096)
		for _, name := range some {
			if err := told(name); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
