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
		d.list(ctx, root, "", prefix, yield)
	}
}

func (d *Dir) list(ctx context.Context, root *os.Root, dir, prefix string, yield func(Info, error) bool) bool {
	names, err := readNames(root, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Info{}, fmt.Errorf("list %s: %w", dir, err))
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			yield(Info{}, err)
			return false
		}
		full := dir + name
		if sub, isDir := strings.CutSuffix(full, "/"); isDir {
			inside := strings.HasPrefix(full, prefix) || strings.HasPrefix(prefix, full)
			if !inside || full == PrivatePrefix && !strings.HasPrefix(prefix, PrivatePrefix) {
				continue
			}
			if !d.list(ctx, root, sub+"/", prefix, yield) {
				return false
			}
			continue
		}
		if !strings.HasPrefix(full, prefix) {
			continue
		}
		key, err := ParseKey(full)
		if err != nil {
			continue // a name that no client can ask for
		}
		st, err := root.Lstat(full)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
			continue
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("list %s: %w", full, err))
			return false
		}
		if !yield(infoOf(key, st), nil) {
			return false
		}
	}
	return true
}

// readNames returns the names in a directory in the order of whole keys, with
// a slash behind the names of directories.
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(strings.TrimSuffix("./"+dir, "/"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		entries, err := f.ReadDir(4096)
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() {
				name += "/"
			}
			names = append(names, name)
		}
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
