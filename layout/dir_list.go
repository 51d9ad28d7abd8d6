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
	"slices"
	"strings"
)

// List walks the directory. Names are sorted as whole keys: a file "nar-x"
// comes before what is in the directory "nar", as an object store has it.
func (d *Dir) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		w := &dirWalk{ctx: ctx, prefix: prefix, yield: func(e TopEntry, err error) bool { return yield(e.Info, err) }}
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
	root, err := d.open(false)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	there := false
	if err == nil {
		there, err = isDirPath(root, dir)
	}
	if err != nil {
		w.fail(dir, err)
	} else if there {
		w.walk(root, dir)
	}
}

// isDirPath reports whether dir is a directory and can be the beginning of a
// key. Symbolic links are none.
func isDirPath(root *os.Root, dir string) (bool, error) {
	if dir == "" {
		return true, nil
	}
	if _, err := ParseKey(strings.TrimSuffix(dir, "/")); err != nil {
		return false, nil
	}
	for i, c := range dir {
		if c != '/' {
			continue
		}
		st, err := root.Lstat(dir[:i])
		if errors.Is(absent(err), fs.ErrNotExist) {
			return false, nil
		}
		if err != nil || !st.IsDir() {
			return false, err
		}
	}
	return true, nil
}

// A dirWalk is one listing.
type dirWalk struct {
	ctx    context.Context
	prefix string
	top    bool // folders are named instead of walked
	yield  func(TopEntry, error) bool
}

func (w *dirWalk) fail(name string, err error) bool {
	return w.yield(TopEntry{}, fmt.Errorf("list %s: %w", cmp.Or(name, "the tree"), err))
}

// walk yields what is below dir, "" or a path in root that ends in a slash. It
// reports whether to go on.
func (w *dirWalk) walk(root *os.Root, dir string) bool {
	here, err := root.OpenRoot("./" + dir)
	var names []string
	if err == nil {
		defer here.Close()
		names, err = w.names(here, dir)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return true // removed a moment ago, perhaps while it was read
	}
	if err != nil {
		return w.fail(dir, err)
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			w.yield(TopEntry{}, err)
			return false
		}
		if strings.HasSuffix(name, "/") {
			if w.top {
				if !w.yield(TopEntry{Folder: name}, nil) {
					return false
				}
			} else if !w.walk(root, dir+name) {
				return false
			}
			continue
		}
		key, err := ParseKey(dir + name)
		if err != nil {
			continue // a name that no client can ask for
		}
		st, err := here.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
			continue
		}
		if err != nil {
			w.fail(dir+name, err)
			return false
		}
		if !w.yield(TopEntry{Info: infoOf(key, st)}, nil) {
			return false
		}
	}
	return true
}

// names returns what of a directory may belong to the listing, sorted as whole
// keys, with a slash behind the names of directories. A directory that is called
// like a narinfo, a listing or a NAR is nothing of ours: what has such a name is
// taken for a file, so that most names need no second look.
func (w *dirWalk) names(here *os.Root, dir string) ([]string, error) {
	all, err := readNames(here, ".")
	if err != nil {
		return nil, err
	}
	marked := all[:0]
	for _, name := range all {
		full := dir + name
		switch Key(full).Kind() {
		case KindNarInfo, KindListing, KindNAR:
		default:
			st, err := here.Lstat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if st.IsDir() {
				full += "/"
				if full == PrivatePrefix && !strings.HasPrefix(w.prefix, PrivatePrefix) {
					continue
				}
			}
		}
		if strings.HasPrefix(full, w.prefix) {
			marked = append(marked, full[len(dir):])
		}
	}
	slices.Sort(marked)
	return marked, nil
}

// readNames returns the names in a directory, sorted. Their types are not asked
// for: below a Root, the library would look at each file for that.
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		some, err := f.Readdirnames(4096)
		names = append(names, some...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(names)
	return names, nil
}
