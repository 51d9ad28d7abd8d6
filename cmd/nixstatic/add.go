package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

func addCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "add",
		Usage:     "put any file or directory into a cache as a store path",
		ArgsUsage: "FILE-OR-DIR…",
		Description: "The store path is the one that nix-store --add prints for the same content. It is\n" +
			"content-addressed, so that clients need no key for it; no Nix is needed here. It\n" +
			"refers to nothing.\n\n" +
			"Examples:\n" +
			"   nixstatic add --to ./cache ./photos\n" +
			"   nixstatic add --to ./cache --name dataset-1.0 ./data\n" +
			"   nixstatic add --to https://cache.example.org/upload ./dataset.tar",
		Flags: append(append([]cli.Flag{
			toFlag(),
			&cli.StringFlag{Name: "name", Usage: "the `NAME` in the store path, instead of the file's own"},
			&cli.StringFlag{Name: "store-dir", Value: layout.DefaultStoreDir, Usage: "the store `DIRECTORY` of a new cache"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords for https:// are in `FILE` instead of ~/.netrc"},
		}, writeFlags()...), jsonFlag(), quietFlag(), verboseFlag()),
		Action: runAdd,
	})
}

// addResult is what --json prints for each path.
type addResult struct {
	Path      string `json:"path"`
	Written   bool   `json:"written"` // false if the tree had it already
	NarHash   string `json:"narHash"`
	NarBytes  int64  `json:"narBytes"`
	FileBytes int64  `json:"fileBytes"`
	deep      bool
}

func runAdd(c *cli.Context) error {
	if err := need(c, "to"); err != nil {
		return err
	}
	files := c.Args().Slice()
	if len(files) == 0 {
		return usage("add needs at least one file or directory")
	}
	if c.IsSet("name") && len(files) > 1 {
		return usage("--name goes with one file or directory")
	}
	names := make([]string, len(files))
	for i, file := range files {
		var err error
		if names[i], err = nameFor(c.String("name"), file); err != nil {
			return err
		}
	}
	tree, err := openPush(c, c.String("to"), layout.RunID{}, nil)
	if err != nil {
		return err
	}
	defer tree.Close()
	w, err := writerToAdd(c, tree)
	if err != nil {
		return err
	}
	shown, err := followPage(c.Context, w)
	if err != nil {
		return err
	}
	defer shown.finish(c, w.Keys)
	if err := shown.begin(c.Context); err != nil {
		return err
	}
	w.Pool = compress.NewPool(0)
	defer w.Pool.Close()
	p := &addProgress{of: len(files)}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), p.line)
	defer m.end()
	var results []addResult
	for i, file := range files {
		p.file.Add(1)
		p.goes.Store(false)
		if c.Bool("verbose") {
			m.above(func() { say(c, "add: %s", file) })
		}
		r, err := addOne(c.Context, w, names[i], file, p)
		if err != nil {
			shown.tear()
			return fmt.Errorf("add %s: %w", file, err)
		}
		m.above(func() {
			if r.deep {
				say(c, "note: %s has more than %s; %s", file, deepLevels, deepNote)
			}
			if !c.Bool("json") {
				fmt.Fprintln(c.App.Writer, r.Path)
			}
		})
		results = append(results, r)
	}
	m.end()
	if c.Bool("json") {
		return printJSONList(c.App.Writer, "paths", results)
	}
	return nil
}

// writerToAdd returns what writes into a tree that is there afterwards.
func writerToAdd(c *cli.Context, tree layout.Tree) (*layout.Writer, error) {
	storeDir := c.String("store-dir")
	if !c.IsSet("store-dir") {
		have, err := layout.ReadCacheInfo(c.Context, tree)
		if err == nil {
			storeDir = have.StoreDir
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	w, err := newWriter(c, tree, storeDir)
	if err != nil {
		return nil, err
	}
	if layout.TraitsOf(tree).Blind {
		// A server of ours says so when it is asked, and then takes large NARs in pieces.
		if _, err := layout.Missing(c.Context, tree, nil); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}
	_, err = initTree(c.Context, w)
	return w, err
}

// addProgress is how far a run is.
type addProgress struct {
	of    int
	file  atomic.Int64 // the number of the one that is added
	bytes atomic.Int64 // of all, read and packed
	goes  atomic.Bool  // the packed one is on its way into the cache
}

func (p *addProgress) line(elapsed time.Duration) string {
	n := p.bytes.Load()
	text := fmt.Sprintf("add: %s packed, %s/s", bytesize(n), bytesize(int64(float64(n)/max(elapsed.Seconds(), 0.001))))
	if p.goes.Load() {
		text = fmt.Sprintf("add: %s packed, and go into the cache", bytesize(n))
	}
	if p.of > 1 {
		text += fmt.Sprintf(", file %d of %d", p.file.Load(), p.of)
	}
	return text
}

// nameFor returns the name part of the store path for a file.
func nameFor(name, file string) (string, error) {
	if name != "" {
		if err := layout.CheckName(name); err != nil {
			return "", usage("--name: %v", err)
		}
		return name, nil
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Lstat(abs); err != nil {
		return "", err
	}
	name = filepath.Base(abs)
	if err := layout.CheckName(name); err != nil {
		return "", withHint(fmt.Errorf("%s cannot keep its name in the store: %w", file, err), "give it one with --name")
	}
	return name, nil
}

// addOne puts one file or directory into the tree.
func addOne(ctx context.Context, w *layout.Writer, name, file string, progress *addProgress) (addResult, error) {
	packed, err := w.Pack(ctx, nil, func(out io.Writer) error { return nar.Dump(ctx, layout.CountWriter(out, &progress.bytes), file) })
	if err != nil {
		return addResult{}, err
	}
	defer packed.Discard()
	ca := layout.ContentAddress{Method: layout.HashNAR, Algo: "sha256", Digest: packed.NarHash[:]}
	p, err := ca.Path(w.StoreDir, name, nil, false)
	if err != nil {
		return addResult{}, err
	}
	r := addResult{Path: p.Abs(w.StoreDir), NarHash: packed.NarHash.String(), NarBytes: packed.NarSize, FileBytes: packed.FileSize, deep: packed.Depth > nar.CommonDepth}
	if _, err := w.Tree.Stat(ctx, layout.NarInfoKey(p)); err == nil {
		if err := layout.Renew(ctx, w.Tree, p); !errors.Is(err, layout.ErrRemoved) {
			return r, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	r.Written = true
	progress.goes.Store(true)
	return r, w.Add(ctx, []layout.Item{{Info: layout.PathInfo{Path: p, CA: ca.String()}, Packed: packed}})
}
