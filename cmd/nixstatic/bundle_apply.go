package main

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/bundle"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/sync/export"
)

func bundleApplyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "bring what a bundle holds into a cache",
		ArgsUsage: "FILE… CACHE",
		Description: "Every byte of each FILE is read and compared with its sum before anything is changed.\n" +
			"Then the paths go the way of those of another cache: the signature of a trusted key is\n" +
			"asked for, each NAR is checked, and references are there before what refers to them. A\n" +
			"run that was interrupted is completed by running it again.\n\n" +
			"Parts are named together, in any order, or come one after the other. The paths that need\n" +
			"a part which has not come yet are told, and the exit code is 1; all others are in the\n" +
			"cache then.\n\n" +
			"Examples:\n" +
			"   nixstatic bundle apply /media/stick/b.tar /srv/cache --trusted-public-key 'cache-1:…'\n" +
			"   nixstatic bundle apply /media/stick/b.tar.* /srv/cache -k secret.key --no-check-sigs\n" +
			"   nixstatic bundle apply -n b.tar 's3://bucket?endpoint=https://minio.example.org'",
		Flags: []cli.Flag{
			keyFlag(),
			trustedKeysFlag("believe what `KEY` (name:base64) has signed; may be repeated (cache.nixos.org's if none is given)"),
			&cli.BoolFlag{Name: "no-check-sigs", Usage: "believe everything"},
			&cli.BoolFlag{Name: "debug-info", Usage: "link build IDs to the debug files in the paths"},
			jobsFlag("paths"),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "check the files, tell what would be written, and write nothing"},
			jsonFlag(), quietFlag(), verboseFlag(),
		},
		Action: runBundleApply,
	}
}

func runBundleApply(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage("bundle apply takes the files of a bundle, and the cache")
	}
	names, to := c.Args().Slice()[:c.NArg()-1], c.Args().Get(c.NArg()-1)
	if _, err := locate(c, to, writeTree); err != nil {
		return err
	}
	keys, err := loadKeys(c)
	if err != nil {
		return err
	}
	trust, err := trustOf(c)
	if err != nil {
		return err
	}
	b, err := openBundle(names...)
	if err != nil {
		return aboutBadBundle(err)
	}
	defer b.Close()
	if err := checkBundle(c, b); err != nil {
		return aboutBadBundle(err)
	}
	tree, err := openTree(c, to, writeTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := takes(c, tree, b.StoreDir); err != nil {
		return err
	}
	provision, err := layout.ReadProvision(c.Context, tree, b.StoreDir)
	if err != nil {
		return err
	}
	ready, waiting, err := b.Ready(c.Context, tree, provision.Provides)
	if err != nil {
		return err
	}
	if len(ready) > 0 {
		source, err := export.NewCache(c.Context, b, export.CacheOptions{})
		if err != nil {
			return err
		}
		im := &export.Run{Source: source, Trust: trust, Provided: provision.Provides,
			Writer:    &layout.Writer{Tree: tree, StoreDir: b.StoreDir, Keys: keys, Method: compress.Zstd, DebugInfo: c.Bool("debug-info")},
			NoClosure: true, Logs: true, Jobs: c.Int("jobs"), Progress: &export.Progress{}}
		if err := planAndExport(c, im, ready, treeName(tree, to)); err != nil {
			return err
		}
	}
	return stillWaiting(b, waiting)
}

// checkBundle reads every byte of a bundle.
func checkBundle(c *cli.Context, b *openedBundle) error {
	var read atomic.Int64
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(elapsed time.Duration) string {
		return "bundle apply: checking, " + amount(read.Load(), b.Bytes(), elapsed)
	})
	defer m.end()
	return b.Check(c.Context, &read)
}

// stillWaiting tells of what could not go into the cache.
func stillWaiting(b *openedBundle, waiting []bundle.Waiting) error {
	var err error
	switch {
	case len(waiting) > 0:
		first := waiting[0]
		need := first.For.Abs(b.StoreDir)
		if first.For == first.Path {
			need = "the rest of its NAR"
		}
		err = fmt.Errorf("%s of the bundle cannot go into the cache yet, such as %s, which needs %s", plural(int64(len(waiting)), "path"), first.Path.Abs(b.StoreDir), need)
	case len(b.Cut) > 0:
		err = fmt.Errorf("a part of %s is here, and cannot go into the cache without the rest", b.Cut[0])
	default:
		return nil
	}
	if lacking := b.Lacking(); len(lacking) > 0 {
		return withHint(err, "apply the parts that are missing, together with these: %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(lacking)), ", "), "[]"))
	}
	if len(b.Cut) > 0 {
		return withHint(err, "apply the other parts of the bundle, together with this one")
	}
	return withHint(err, "apply the other parts of the bundle, together with this one; if there are none, the cache has lost paths since its state was taken: take it again")
}

// aboutBadBundle tells what to do about files that make up no whole bundle.
func aboutBadBundle(err error) error {
	var bad *bundle.BadError
	switch {
	case errors.Is(err, bundle.ErrVersion):
		return withHint(err, "bring a nixstatic of that version across as well; nothing was changed")
	case errors.Is(err, bundle.ErrCut), errors.As(err, &bad):
		return withHint(err, "copy the file once more, or make it anew with nixstatic bundle create; nothing was changed")
	}
	return err
}
