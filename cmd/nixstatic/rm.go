package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/gc"
)

func rmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "take paths out of a cache",
		ArgsUsage: "CACHE PATH…",
		Description: "Withdraws the paths at once, whatever their age. Nothing that stays may refer to them,\n" +
			"and no pin may name them. nixstatic gc undo brings them back for a week.\n\n" +
			"With --purge the bytes go as well, and nothing brings them back: for a secret that\n" +
			"was pushed by mistake.\n\n" +
			"From a bucket they go an hour after the command began: until then requests may arrive\n" +
			"of writers that do not know. Interrupted, the same command goes on with it later.\n\n" +
			"Examples:\n" +
			"   nixstatic rm ./cache /nix/store/…-hello-2.12\n" +
			"   nixstatic rm ./cache /nix/store/…-openssl-3.0.1 --with-referrers -n\n" +
			"   nixstatic rm ./cache /nix/store/…-config-with-password --with-referrers --purge",
		Flags: append(purgeFlags(),
			&cli.BoolFlag{Name: "with-referrers", Usage: "take what refers to them as well, all the way up"},
			&cli.BoolFlag{Name: "purge", Usage: "remove the bytes now, and for good"},
			&cli.BoolFlag{Name: "no-wait", Usage: "in a bucket: announce it, and end; the same command removes them an hour later"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would go, and change nothing"},
			jsonFlag(), quietFlag()),
		Action: runRm,
	}
}

// purgedNote is what a purge cannot do.
const purgedNote = "note: who read the paths before still has them: clients in their stores, and in what they remember of this cache for up to 30 days; " +
	"copies of this cache (nixstatic sync --delete brings them up to date), web caches before it, snapshots and backups. A secret that was public has to be changed"

func runRm(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage("rm needs the cache and at least one path")
	}
	location := c.Args().First()
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	paths, err := storePathArgs(info.StoreDir, c.Args().Tail())
	if err != nil {
		return err
	}
	o := gc.TakeOptions{WithReferrers: c.Bool("with-referrers"), Purge: c.Bool("purge"), Dry: c.Bool("dry-run"), NoWait: c.Bool("no-wait")}
	o.Undo, o.Memory = 7*24*time.Hour, cacheFile("gc", treeName(tree, location))
	purge, err := readPurger(c)
	if err != nil {
		return err
	}
	o.Options = purge.purging(o.Options)
	o.Progress = &gc.Progress{}
	var until atomic.Pointer[time.Time]
	o.Waits = func(at time.Time) { until.Store(&at) }
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		if at := until.Load(); at != nil && !at.IsZero() {
			return fmt.Sprintf("rm: announced; waits until %s, when no request of a writer that does not know can arrive any more", at.Local().Format("15:04:05"))
		}
		return fmt.Sprintf("rm: %d of %s looked at", o.Progress.Read.Load(), plural(o.Progress.Listed.Load(), "path"))
	})
	defer m.end()
	done, err := gc.Take(c.Context, tree, paths, o)
	m.end()
	if failed := purge.run(c.Context); err == nil && failed != nil {
		return failed
	}
	switch {
	case errors.As(err, new(*gc.ReferredError)):
		return withHint(err, "--with-referrers takes these as well; nothing was removed")
	case errors.As(err, new(*gc.PinnedError)):
		return withHint(err, "nixstatic pin remove %s NAME@N lets it go; nothing was removed", location)
	case errors.As(err, new(*gc.SharedError)):
		return withHint(err, "name that path too: both have the same bytes; nothing was removed")
	case err != nil:
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, done)
	} else {
		for _, p := range done.Paths {
			fmt.Fprintln(c.App.Writer, p.Abs(info.StoreDir))
		}
	}
	if err != nil || o.Dry {
		return err
	}
	if !done.Run.Ripe.IsZero() {
		if !c.Bool("quiet") {
			say(c, "announced: the same command removes them after %s", done.Run.Ripe.Local().Format("2006-01-02 15:04"))
		}
		return nil
	}
	refreshPage(c, tree, info.StoreDir, false)
	if left := int64(len(done.Paths)) - done.Run.Withdrawn.Count; left > 0 {
		return withHint(fmt.Errorf("%s stayed: something that was published meanwhile needs it", plural(left, "path")), "run the command again")
	}
	if left := int64(len(done.Purged)) - done.Run.Reclaimed.Count; left > 0 {
		return withHint(fmt.Errorf("%s stayed, put again meanwhile", plural(left, "object")), "run the command again")
	}
	if !c.Bool("quiet") {
		say(c, "%s withdrawn", plural(done.Run.Withdrawn.Count, "path"))
		if o.Purge {
			say(c, "%s removed for good (%s)", plural(done.Run.Reclaimed.Count, "object"), bytesize(done.Run.Reclaimed.Bytes))
			say(c, "%s", purgedNote)
		}
	}
	return nil
}
