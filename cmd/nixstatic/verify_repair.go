package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

func repairFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "repair", Usage: "make listings and debug links again from the NARs that are there; with --from also all else that is damaged or missing"},
		&cli.StringFlag{Name: "from", Usage: "take paths for --repair from `SOURCE`: another cache (https://, a directory), or a store (daemon, unix:// and a socket, or the root of one behind local:)"},
		keyFlagFor("sign what --repair takes from a store with the key in `FILE`"),
		&cli.BoolFlag{Name: "no-check-sigs", Usage: "believe everything (with --from and a cache)"},
		&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords for --from are in `FILE` instead of ~/.netrc"},
	}
}

// A damage is what a check found, by what mends it.
type damage struct {
	listings []layout.StorePath // from the NAR that is there
	links    []layout.Key       // debug links, likewise
	records  []layout.StorePath // from a source: the record, the NAR or references are missing
	bytes    []layout.StorePath // from a source: the NAR is there, and is damaged
	nameless int                // records that do not say of which path they are
}

// add files a problem.
func (d *damage) add(p fsck.Problem) {
	to := &d.records
	switch p.Kind {
	case fsck.MissingListing, fsck.BadListing, fsck.ListingDiffers:
		to = &d.listings
	case fsck.BadDebugInfo, fsck.DanglingDebugInfo:
		d.links = append(d.links, p.Key)
		return
	case fsck.FileSize, fsck.FileHash, fsck.BadNAR, fsck.NarHash, fsck.NarSize, fsck.WrongCA:
		to = &d.bytes
	case fsck.MissingNAR, fsck.MissingReference, fsck.BadNarInfo, fsck.WrongName, fsck.BadURL:
	default:
		return // no source mends it
	}
	if p.Path == "" {
		d.nameless++
		return
	}
	if !slices.Contains(*to, p.Path) {
		*to = append(*to, p.Path)
	}
}

// repair mends what it can, and returns how many paths and links it wrote.
func (d *damage) repair(c *cli.Context, tree layout.Tree) (mended int, err error) {
	info, err := layout.ReadCacheInfo(c.Context, tree)
	if err != nil {
		return 0, err
	}
	keys, err := loadKeys(c)
	if err != nil {
		return 0, err
	}
	w := &layout.Writer{Tree: tree, StoreDir: info.StoreDir, Keys: keys, Pool: compress.NewPool(0)}
	defer w.Pool.Close()
	var failed []error
	if c.String("from") != "" {
		n, err := d.fetch(c, w)
		mended += n
		if err != nil {
			failed = append(failed, err)
		}
	}
	remake := func(w *layout.Writer, paths []layout.StorePath, wrong ...layout.Key) {
		for _, p := range paths {
			if err := w.Remake(c.Context, p, wrong...); err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", p, err))
				continue
			}
			mended++
		}
	}
	remake(w, d.listings)
	owners, err := d.owners(c.Context, tree, info.StoreDir) // by listings that are right by now
	if err != nil {
		return mended, err
	}
	linked := *w
	linked.DebugInfo = true
	remake(&linked, owners, d.links...)
	return mended, errors.Join(failed...)
}

// fetch brings paths from a source.
func (d *damage) fetch(c *cli.Context, w *layout.Writer) (mended int, err error) {
	source, trust, done, err := repairSource(c)
	if err != nil {
		return 0, err
	}
	defer done()
	for _, step := range []struct {
		paths []layout.StorePath
		force bool
	}{{d.bytes, true}, {d.records, false}} {
		for _, p := range step.paths { // each by itself: the source may lack one
			run := &export.Run{Source: source, Writer: w, Trust: trust, Force: step.force, NoClosure: step.force, Progress: &export.Progress{}}
			plan, failed := run.Plan(c.Context, []layout.StorePath{p})
			if failed == nil {
				failed = run.Do(c.Context, plan)
			}
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", p, failed))
				continue
			}
			mended += len(plan.Missing)
		}
	}
	return mended, err
}

// repairSource opens what --from names.
func repairSource(c *cli.Context) (source export.Source, trust signer.Trust, done func(), err error) {
	from := c.String("from")
	root, local := strings.CutPrefix(from, "local:")
	if from == "daemon" || local || strings.HasPrefix(from, "unix://") {
		if !local {
			root = strings.TrimPrefix(from, "daemon")
		}
		store, err := nixstore.Open(c.Context, nixstore.Options{Store: root, Lazy: true})
		if err != nil {
			return nil, trust, nil, err
		}
		return store, signer.Trust{All: true}, func() { store.Close() }, nil
	}
	cache, trust, err := openCache(c, from)
	if err != nil {
		return nil, trust, nil, err
	}
	return cache, trust, func() { cache.Close() }, nil
}

// owners returns the paths whose NARs have the debug files of the links, by their
// listings.
func (d *damage) owners(ctx context.Context, tree layout.Tree, storeDir string) (paths []layout.StorePath, err error) {
	if len(d.links) == 0 {
		return nil, nil
	}
	var files [][]byte
	for _, key := range d.links {
		if id := key.BuildID(); id != "" {
			files = append(files, []byte(`"`+id[2:]+`.debug"`))
		}
	}
	for info, err := range tree.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		if info.Key.Kind() != layout.KindListing {
			continue
		}
		text, err := layout.ReadAll(ctx, tree, info.Key)
		if err != nil || !slices.ContainsFunc(files, func(name []byte) bool { return bytes.Contains(text, name) }) {
			continue
		}
		record, err := layout.ReadAll(ctx, tree, layout.NarInfoKeyOf(info.Key.PathHash()))
		if err != nil {
			continue
		}
		if n, err := layout.ParseNarInfo(record, storeDir); err == nil {
			paths = append(paths, n.Path)
		}
	}
	return paths, nil
}

// checkAndRepair mends what a first check finds. The check that follows tells what is
// left.
func checkAndRepair(c *cli.Context, tree layout.Tree, trusted signer.Trusted) error {
	provision, err := readProvision(c.Context, tree)
	if err != nil {
		return err
	}
	var d damage
	found := 0
	for p, err := range fsck.Check(c.Context, tree, fsck.Options{Deep: c.Bool("deep"), Jobs: c.Int("jobs"), Trusted: trusted, Provided: provision.Provides}) {
		if err != nil || p.Kind.Note() {
			continue // what cannot be read is told by the check that follows
		}
		found++
		d.add(p)
		if !c.Bool("quiet") {
			say(c, "found: %s", p.String())
		}
	}
	if found == 0 {
		return c.Context.Err()
	}
	mended, err := d.repair(c, tree)
	if !c.Bool("quiet") {
		say(c, "repaired: %s written anew", plural(int64(mended), "path"))
		if d.nameless > 0 {
			say(c, "note: %s that cannot tell of which path: export that path again", plural(int64(d.nameless), "narinfo"))
		}
	}
	if err != nil {
		if c.Context.Err() != nil {
			return err
		}
		say(c, "note: not repaired: %s", printable(err.Error()))
	}
	return nil
}
