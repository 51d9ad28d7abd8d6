package layout

import (
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
		root, err := d.open(false)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("list: %w", err))
			return
		}
		w := &dirWalk{ctx, prefix, yield}
		top := prefix[:strings.LastIndexByte(prefix, '/')+1]
		if there, err := isDirPath(root, top); err != nil {
			w.fail(top, err)
		} else if there {
			w.walk(root, top)
		}
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
	yield  func(Info, error) bool
}

func (w *dirWalk) fail(name string, err error) bool {
	return w.yield(Info{}, fmt.Errorf("list %s: %w", name, err))
}

// walk yields what is below dir, "" or a path in root that ends in a slash. It
// reports whether to go on.
func (w *dirWalk) walk(root *os.Root, dir string) bool {
	here, err := root.OpenRoot("./" + dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return w.fail(dir, err)
	}
	defer here.Close()
	names, err := readNames(here, ".")
	if err != nil {
		return w.fail(dir, err)
	}
	if names, err = w.markDirs(here, dir, names); err != nil {
		return w.fail(dir, err)
	}
	for _, name := range names {
		if err := w.ctx.Err(); err != nil {
			w.yield(Info{}, err)
			return false
		}
		if strings.HasSuffix(name, "/") {
			if !w.walk(root, dir+name) {
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
		if !w.yield(infoOf(key, st), nil) {
			return false
		}
	}
	return true
}

// markDirs returns what may belong to the listing, sorted as whole keys, with a
// slash behind the names of directories. A directory that is called like a
// narinfo, a listing or a NAR is nothing of ours: what has such a name is taken
// for a file, so that most names need no second look.
func (w *dirWalk) markDirs(here *os.Root, dir string, names []string) ([]string, error) {
	marked := names[:0]
	for _, name := range names {
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
