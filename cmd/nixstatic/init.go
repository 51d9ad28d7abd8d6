package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
)

func initCommand() *cli.Command {
	return &cli.Command{
		Name:      "init",
		Usage:     "make an empty cache, and the bucket for it",
		ArgsUsage: "CACHE",
		Description: "Writes nix-cache-info, and a page for browsers (see nixstatic page). A cache that is there already is left as it is, so that it can be run before each start of a server, but for a\n" +
			"nix-cache-info that is damaged, which is written anew; it is an error if the cache\n" +
			"is one for another store directory. export and add make a cache\n" +
			"by themselves; init is for one that differs from the defaults.\n\n" +
			"For s3://bucket/prefix?endpoint=… it makes the bucket if there is none, asks the\n" +
			"store to remove what broken uploads leave, and tells what the store supports.\n" +
			"With --public anyone may read the cache, and neither list it nor read what is in\n" +
			".nixstatic. Other rules of the bucket stay as they are; to run it again is safe.\n\n" +
			"Examples:\n" +
			"   nixstatic init ./cache\n" +
			"   nixstatic init ./cache --priority 30    # asked before cache.nixos.org: 40\n" +
			"   nixstatic init --public 's3://cache?endpoint=minio.example.org'",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "store-dir", Value: layout.DefaultStoreDir, Usage: "the store `DIRECTORY` of the paths and of all clients"},
			&cli.IntFlag{Name: "priority", Value: 40, Usage: "`N`: clients ask caches with lower numbers first"},
			&cli.BoolFlag{Name: "no-mass-query", Usage: "ask clients not to look up paths in bulk"},
			&cli.BoolFlag{Name: "no-page", Usage: "make no page for browsers; nixstatic page makes one later"},
			&cli.BoolFlag{Name: "public", Usage: "let anyone read the cache in a bucket"},
			jsonFlag(),
		},
		Action: runInit,
	}
}

// initResult is what --json prints.
type initResult struct {
	Tree          string         `json:"tree"`
	StoreDir      string         `json:"storeDir"`
	Priority      int            `json:"priority"`
	WantMassQuery bool           `json:"wantMassQuery"`
	Bucket        *preparedStore `json:"bucket,omitempty"`
}

func runInit(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	want := layout.CacheInfo{StoreDir: c.String("store-dir"), WantMassQuery: !c.Bool("no-mass-query"), Priority: c.Int("priority")}
	if err := layout.CheckStoreDir(want.StoreDir); err != nil {
		return usage("--store-dir: %v", err)
	}
	// A Nix that reads a larger number ends with the words "error: stoi".
	if want.Priority < 0 || want.Priority > math.MaxInt32 {
		return usage("--priority %d: want 0 to %d", want.Priority, math.MaxInt32)
	}
	tree, store, err := openToInit(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	_, err = layout.ReadCacheInfo(c.Context, tree)
	made := errors.Is(err, fs.ErrNotExist)
	have, mended, err := layout.Mend(c.Context, tree, want)
	if err != nil {
		return err
	}
	if made && !c.Bool("no-page") {
		if err := firstPage(c.Context, tree, have.StoreDir); err != nil {
			return err
		}
	}
	if mended {
		fmt.Fprintf(c.App.ErrWriter, "nixstatic: note: %s was damaged, and is written anew\n", layout.CacheInfoKey)
	}
	// Without flags it asks for nothing in particular: a service may run it each time.
	if !c.IsSet("priority") {
		want.Priority = have.Priority
	}
	if !c.IsSet("no-mass-query") {
		want.WantMassQuery = have.WantMassQuery
	}
	if have != want {
		return withHint(fmt.Errorf("%s is a cache already, with other settings (priority %d, mass query %v)", location, have.Priority, have.WantMassQuery),
			"edit the file %s in it; clients notice within a week", layout.CacheInfoKey)
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, initResult{treeName(tree, location), have.StoreDir, have.Priority, have.WantMassQuery, store})
	}
	if store != nil {
		store.tell(c)
	}
	fmt.Fprintln(c.App.Writer, treeName(tree, location))
	return nil
}

// openToInit opens a tree that may not be there yet. The preparedStore is nil
// for a directory.
func openToInit(c *cli.Context, text string) (openedTree, *preparedStore, error) {
	loc, err := locate(c, text, makeTree)
	if err != nil {
		return nil, nil, err
	}
	if loc.scheme == inBucket {
		return prepareBucket(c, loc)
	}
	if c.Bool("public") {
		return nil, nil, usage("--public is for buckets: who may read a directory, its file system and the web server decide")
	}
	tree, err := openLocated(c, loc)
	return tree, nil, err
}
