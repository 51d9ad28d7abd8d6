package webdav

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
)

// folders are there even while they are empty: clients need not make them.
var folders = layout.PublicFolders

const (
	// maxMade bounds the empty folders that are remembered, for a day.
	maxMade  = 2_000
	madeTime = 24 * time.Hour
)

// A view is a tree, or an inbox, as folders and files: the file system that the
// WebDAV library works on. It writes nothing but placeholders, which Lock makes
// of names that are not there yet.
type view struct {
	from    layout.Lister // the tree, or the inbox over it
	root    string        // the path of its URL
	inbox   uploads       // nil: read-only
	locks   *locks
	scratch *share.Shelf[[]byte]   // see note
	made    *share.Shelf[struct{}] // folders that a client made and that hold nothing yet
	listing *share.Pool            // a place in it is the right to list a folder
}

func newView(from layout.Lister, root string, up uploads, patience time.Duration) *view {
	return &view{from: from, root: root, inbox: up, listing: share.NewPool(maxListing, patience),
		scratch: share.NewShelf[[]byte](maxNotes, scratchTime), made: share.NewShelf[struct{}](maxMade, madeTime)}
}

// An entry is a folder or a file.
type entry struct {
	layout.Info
	name   string // relative to the root of the view
	folder bool
	kept   bool // one of scratch
}

// stat finds what a name stands for.
func (v *view) stat(ctx context.Context, name string) (entry, error) {
	if name == "" || slices.Contains(folders, name) {
		return entry{name: name, folder: true}, nil
	}
	if note, ok := v.note(share.From(ctx), name); ok {
		return entry{name: name, kept: true, Info: layout.Info{Size: int64(len(note.text)), ModTime: note.when}}, nil
	}
	key, err := layout.ParseKey(name)
	if err != nil {
		return entry{}, fs.ErrNotExist
	}
	if key.Kind().Public() {
		info, err := v.from.Stat(ctx, key)
		return entry{name: name, Info: info}, err
	}
	if !isFolder(name) {
		return entry{}, fs.ErrNotExist
	}
	if _, _, made := v.made.Get(share.From(ctx), name); made {
		return entry{name: name, folder: true}, nil
	}
	place, err := v.listing.Take(ctx, 1)
	if err != nil {
		return entry{}, fmt.Errorf("look into %s: %w", name, err)
	}
	defer place.Release()
	for _, err := range v.from.List(ctx, name+"/") {
		return entry{name: name, folder: true}, err
	}
	return entry{}, fs.ErrNotExist
}

// isFolder reports whether a name below one of the folders can be a folder
// itself: only realisations and pins have such.
func isFolder(name string) bool {
	return layout.Key(name+"/x.doi").Kind() == layout.KindRealisation || layout.Key(name+"/x").Kind() == layout.KindPin
}

// children yields what is directly in a folder, without holding it in memory.
// Files that no reader can ask for are not shown.
func (v *view) children(ctx context.Context, folder string) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		if folder == "" {
			for _, name := range folders {
				if !yield(entry{name: name, folder: true}, nil) {
					return
				}
			}
			for e, err := range layout.ListTop(ctx, v.from) {
				if err == nil && (e.Folder != "" || !e.Key.Kind().Public()) {
					continue
				}
				if !yield(entry{name: string(e.Key), Info: e.Info}, err) || err != nil {
					return
				}
			}
			return
		}
		prefix := folder + "/"
		last := "" // the folder that the keys are passing through
		for info, err := range v.from.List(ctx, prefix) {
			if err != nil {
				yield(entry{}, err)
				return
			}
			rest := string(info.Key)[len(prefix):]
			if sub, _, below := strings.Cut(rest, "/"); below {
				if sub == last {
					continue
				}
				last = sub
				if !yield(entry{name: prefix + sub, folder: true}, nil) {
					return
				}
				continue
			}
			if info.Key.Kind().Public() && !yield(entry{name: string(info.Key), Info: info}, nil) {
				return
			}
		}
	}
}

// name returns what a path of the library names.
func (v *view) name(p string) string {
	return strings.Trim(strings.TrimPrefix(p+"/", v.root), "/")
}

// Mkdir remembers a folder that a tree can have.
func (v *view) Mkdir(ctx context.Context, p string, _ os.FileMode) error {
	name := v.name(p)
	switch _, err := v.stat(ctx, name); {
	case err == nil:
		return fs.ErrExist
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case !isFolder(name):
		return fs.ErrPermission
	}
	if _, err := v.stat(ctx, strings.TrimSuffix(path.Dir(name), ".")); err != nil {
		return err // absent: the library answers 409, as it should
	}
	v.made.Put(share.From(ctx), name, struct{}{}) // one that holds something by now is found without
	return nil
}

// forget removes what is nowhere but in memory, and reports whether the name was
// that of such a thing.
func (v *view) forget(ctx context.Context, name string) bool {
	if c := share.From(ctx); v.scratch.Remove(c, name) {
		return true
	} else if !v.made.Remove(c, name) {
		return false
	}
	place, err := v.listing.Take(ctx, 1)
	if err != nil {
		return false
	}
	defer place.Release()
	for range v.from.List(ctx, name+"/") {
		return false // it holds something, or we could not tell
	}
	return true
}

// OpenFile opens what Lock and Proppatch work on. It makes a placeholder where
// it is asked to create something.
func (v *view) OpenFile(ctx context.Context, p string, flag int, _ os.FileMode) (xwebdav.File, error) {
	name := v.name(p)
	e, err := v.stat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0 && v.inbox != nil {
		if isScratch(name) {
			v.scratch.Put(share.From(ctx), name, nil)
		} else if _, err := v.inbox.Put(ctx, layout.Key(name), bytes.NewReader(nil), inbox.Options{}); err != nil {
			return nil, err
		}
		e, err = v.stat(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return file{entry: e}, nil
}

// RemoveAll is never called: removing has another door.
func (v *view) RemoveAll(context.Context, string) error { return fs.ErrPermission }

// Rename is never called.
func (v *view) Rename(context.Context, string, string) error { return fs.ErrPermission }

// Stat describes a folder or file.
func (v *view) Stat(ctx context.Context, p string) (os.FileInfo, error) {
	e, err := v.stat(ctx, v.name(p))
	if err != nil {
		return nil, err
	}
	return fileInfo{e}, nil
}

var _ xwebdav.FileSystem = (*view)(nil)
