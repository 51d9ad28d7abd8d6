package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
)

// takes finds out whether a tree takes paths of a store directory: one that is there
// has to be for it, and one that is not there yet is made only where nothing else is.
func takes(c *cli.Context, tree layout.Tree, storeDir string) error {
	have, err := layout.ReadCacheInfo(c.Context, tree)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !layout.TraitsOf(tree).Blind:
		return isEmpty(c.Context, tree)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && have.StoreDir != storeDir:
		return fmt.Errorf("the cache is for the store directory %s, not %s", have.StoreDir, storeDir)
	}
	return err
}

// An occupiedError says that a place without a cache holds something else.
type occupiedError struct{ thing string }

func (e *occupiedError) Error() string {
	return fmt.Sprintf("there is no cache yet and something else, such as %q: the files of a cache would be scattered among it", e.thing)
}

// isEmpty refuses a place that holds anything but the folders of a cache, which may be
// mounts or links that were made before: a person who mistypes the name of a directory
// is not to find thousands of files between those that were there.
func isEmpty(ctx context.Context, tree layout.Tree) error {
	thing, err := firstIn(ctx, tree, func(name string) bool { return !slices.Contains(layout.PublicFolders, name) })
	if err == nil && thing != "" {
		return &occupiedError{thing}
	}
	return err
}

// isNotForeign refuses a directory that holds other things and nothing of a cache.
// A mirror that was interrupted may have anything of a cache.
func isNotForeign(ctx context.Context, tree layout.Tree) error {
	if layout.TraitsOf(tree).Path == "" {
		return nil
	}
	if _, err := layout.ReadCacheInfo(ctx, tree); !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it, if anything, is told later
	}
	ofCache := func(name string) bool {
		return slices.Contains(layout.PublicFolders, name) || layout.Key(name).Kind().Public()
	}
	if found, err := firstIn(ctx, tree, ofCache); err != nil || found != "" {
		return err
	}
	return isEmpty(ctx, tree)
}

// firstIn returns a name at the top of a tree that is wanted, or "". Names that belong to
// nixstatic itself, or to the file system, do not count.
func firstIn(ctx context.Context, tree layout.Tree, wanted func(name string) bool) (string, error) {
	own := func(name string) bool { return strings.HasPrefix(name, ".nixstatic") || name == "lost+found" }
	if dir := layout.TraitsOf(tree).Path; dir != "" {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		for _, entry := range entries {
			if !own(entry.Name()) && wanted(entry.Name()) {
				return entry.Name(), nil
			}
		}
		return "", err
	}
	for info, err := range tree.List(ctx, "") {
		name, _, _ := strings.Cut(string(info.Key), "/")
		if err != nil || !own(name) && wanted(name) {
			return name, err
		}
	}
	return "", nil
}

// initTree makes the tree that the Writer is for, and reports whether it was not
// there yet. It looks first: to a bucket, nothing is put without need. Servers of ours,
// which say that they are, have theirs.
func initTree(ctx context.Context, w *layout.Writer) (made bool, err error) {
	if t := layout.TraitsOf(w.Tree); t.Blind && t.Lists {
		return false, nil
	}
	layout.Sweep(w.Tree) // even if nothing turns out to be written
	switch _, err := layout.ReadCacheInfo(ctx, w.Tree); {
	case err == nil:
		return false, nil // takes has looked whether it is for the same store directory
	case layout.TraitsOf(w.Tree).Blind:
	case !errors.Is(err, fs.ErrNotExist):
		return false, err
	default:
		if err := isEmpty(ctx, w.Tree); err != nil {
			return false, err
		}
	}
	info := layout.DefaultCacheInfo()
	info.StoreDir = w.StoreDir
	_, err = layout.Init(ctx, w.Tree, info)
	return true, err
}
