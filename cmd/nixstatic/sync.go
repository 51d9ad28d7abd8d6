package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/watch"
)

func syncCommand() *cli.Command {
	return &cli.Command{
		Name:      "sync",
		Usage:     "make one cache equal to another",
		ArgsUsage: "SOURCE DESTINATION [PATH…]",
		Description: "SOURCE is a directory, a file:// URL or s3://bucket/prefix?endpoint=…; DESTINATION\n" +
			"is one of these, or the URL of a server that takes PUT. Two listings decide what\n" +
			"is to be copied. Readers of DESTINATION find it whole at every moment, and a run\n" +
			"that was interrupted is completed by running it again. What is damaged in SOURCE\n" +
			"is not copied; the exit code is then 1.\n\n" +
			"A cache behind https:// is mirrored whole if its server lists it (WebDAV: nixstatic\n" +
			"serve and Apache with mod_dav do). Of any other, name the paths whose closure is\n" +
			"wanted, or - for a list on standard input; that works with every kind of SOURCE. They\n" +
			"must be signed by a trusted key, as for export --from.\n\n" +
			"gitea+https://host/OWNER/PACKAGE?version=VERSION is the generic package registry of a\n" +
			"Gitea or Forgejo, which Nix reads at https://host/api/packages/OWNER/generic/PACKAGE/VERSION.\n" +
			"The token is in netrc, or in $NIXSTATIC_FORGE_TOKEN (docs/forge.md).\n\n" +
			"--include and --exclude take the kinds " + strings.Join(kindNames(), ", ") + ".\n\n" +
			"Examples:\n" +
			"   nixstatic sync ./cache 's3://bucket/prefix?endpoint=http://minio:9000'\n" +
			"   nixstatic sync --delete --dry-run ./cache /mnt/copy\n" +
			"   nixstatic sync --watch --delete ./cache 's3://bucket?region=eu-west-1'\n" +
			"   nixstatic sync ./cache https://user@cache.example.org/upload\n" +
			"   nixstatic sync https://cache.example.org ./copy\n" +
			"   nixstatic sync ./cache 'gitea+https://git.example.org/acme/cache?version=1'\n" +
			"   nix-store -q --requisites ./result | nixstatic sync 's3://bucket?endpoint=https://…' ./cache -\n" +
			"   nixstatic sync https://cache.nixos.org ./cache /nix/store/…-hello-2.12",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "delete", Usage: "remove what SOURCE does not have"},
			&cli.StringSliceFlag{Name: "include", Usage: "only objects of this `KIND`; may be repeated"},
			&cli.StringSliceFlag{Name: "exclude", Usage: "no objects of this `KIND`; may be repeated"},
			&cli.StringFlag{Name: "compare", Value: "version", Usage: "tell what differs by `METHOD`: version, or content, which reads every byte on both sides"},
			&cli.StringFlag{Name: "bandwidth", Usage: "at most `SIZE` a second, such as 10MB; a number alone is KiB"},
			&cli.BoolFlag{Name: "watch", Usage: "go on, and mirror what changes"},
			&cli.StringFlag{Name: "rescan", Value: "10m", Usage: "compare everything each `DURATION` (with --watch)"},
			trustedKeysFlag("believe what `KEY` (name:base64) has signed; may be repeated (with PATH)"),
			&cli.BoolFlag{Name: "no-check-sigs", Usage: "believe everything (with PATH)"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			purgeFlags()[0], purgeFlags()[1],
			jobsFlag("objects"),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would be done, and change nothing"},
			&cli.BoolFlag{Name: "json", Usage: "print each event as a line of JSON on standard output"},
			quietFlag(), verboseFlag(),
		},
		Action: runSync,
	}
}

func runSync(c *cli.Context) error {
	if c.NArg() < 2 {
		return usage("sync takes the source and the destination")
	}
	from, to := c.Args().Get(0), c.Args().Get(1)
	if _, err := parseLocation(from); err != nil {
		return err
	}
	if paths := c.Args().Slice()[2:]; len(paths) > 0 {
		return syncCache(c, from, to, paths)
	}
	for _, flag := range []string{"trusted-public-key", "no-check-sigs"} {
		if c.IsSet(flag) {
			return usage("--%s goes with paths: a whole cache is mirrored as it is", flag)
		}
	}
	m, err := newMirror(c)
	if err != nil {
		return err
	}
	src, err := openOrigin(c, from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := openDest(c, to)
	if err != nil {
		return err
	}
	defer dst.Close()
	if treeName(src, from) == treeName(dst, to) {
		return usage("source and destination are the same")
	}
	if err := isNotForeign(c.Context, dst); err != nil {
		return err
	}
	m.Source, m.Dest = src, dst
	m.State = stateFile(treeName(src, from), treeName(dst, to))
	out := newSyncOutput(c, m)
	if out.purge, err = readPurger(c); err != nil {
		return err
	}
	switch {
	case c.Bool("dry-run"):
		return syncPlan(c, m, out)
	case c.Bool("watch"):
		return syncWatch(c, m, out)
	}
	return syncOnce(c, m, out)
}

// newMirror makes a Mirror from the flags, without its trees.
func newMirror(c *cli.Context) (*mirror.Mirror, error) {
	m := &mirror.Mirror{Delete: c.Bool("delete"), Jobs: c.Int("jobs"), Progress: &mirror.Progress{}}
	if c.Bool("watch") && c.Bool("dry-run") {
		return nil, usage("--watch and --dry-run exclude each other")
	}
	switch method := c.String("compare"); method {
	case "version":
	case "content":
		m.Content = true
	default:
		return nil, usage("--compare %s: choose version or content", method)
	}
	if text := c.String("bandwidth"); text != "" {
		var err error
		if m.Bandwidth, err = parseBandwidth(text); err != nil {
			return nil, err
		}
	}
	var err error
	m.Kinds, err = chosenKinds(c.StringSlice("include"), c.StringSlice("exclude"))
	return m, err
}

// parseBandwidth reads bytes a second. A number alone is KiB, as in rclone.
func parseBandwidth(text string) (int64, error) {
	rate := strings.TrimSuffix(text, "/s")
	if strings.Trim(rate, "0123456789.") == "" {
		rate += "KiB"
	}
	n, err := gc.ParseBytes(rate)
	if err != nil {
		return 0, usage("--bandwidth: %q is not a size such as 10MB", text)
	}
	if n < 1<<10 {
		return 0, usage("--bandwidth %s is less than 1KiB a second", text)
	}
	return n, nil
}

// publicKinds are those that can be mirrored.
func publicKinds() (kinds []layout.Kind) {
	for k := layout.Kind(0); k.Public(); k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

func kindNames() (names []string) {
	for _, k := range publicKinds() {
		names = append(names, k.String())
	}
	return names
}

// chosenKinds returns the kinds to mirror, nil for all.
func chosenKinds(include, exclude []string) ([]layout.Kind, error) {
	for _, name := range slices.Concat(include, exclude) {
		if !slices.Contains(kindNames(), name) {
			return nil, usage("there is no kind %q: choose of %s", name, strings.Join(kindNames(), ", "))
		}
	}
	if len(include)+len(exclude) == 0 {
		return nil, nil
	}
	chosen := []layout.Kind{}
	for _, k := range publicKinds() {
		in := len(include) == 0 || slices.Contains(include, k.String())
		if in && !slices.Contains(exclude, k.String()) {
			chosen = append(chosen, k)
		}
	}
	if len(chosen) == 0 {
		return nil, usage("--include and --exclude leave nothing")
	}
	return chosen, nil
}

// syncOnce mirrors and reports.
func syncOnce(c *cli.Context, m *mirror.Mirror, out *syncOutput) error {
	start := time.Now()
	out.meter = startMeter(c.App.ErrWriter, c.Bool("quiet"), out.line)
	err := m.Run(c.Context)
	out.meter.end()
	out.done(time.Since(start), err)
	// Objects that went or changed before a failure are told of as well.
	if failed := out.purge.run(c.Context); err == nil {
		err = failed
	}
	return err
}

// syncPlan prints what would be done.
func syncPlan(c *cli.Context, m *mirror.Mirror, out *syncOutput) error {
	count, bytes, extra := int64(0), int64(0), int64(0)
	for change, err := range m.Plan(c.Context) {
		if err != nil {
			return err
		}
		if change.Action == mirror.ActionDelete {
			extra++
		} else {
			count++
			bytes += max(0, change.Size)
		}
		if err := out.planned(change); err != nil {
			return err
		}
	}
	if !c.Bool("quiet") {
		say(c, "would copy %s (%s) and delete %d", plural(count, "object"), bytesize(bytes), extra)
	}
	return nil
}

// syncWatch mirrors until it is told to end.
func syncWatch(c *cli.Context, m *mirror.Mirror, out *syncOutput) error {
	rescan, err := durationFlag(c, "rescan")
	if err != nil {
		return err
	}
	w := &watch.Watch{Mirror: m, Rescan: rescan, Report: out.outcome}
	return w.Run(c.Context)
}

// syncCache takes the closure of paths from a cache of any kind, listed or not.
func syncCache(c *cli.Context, from, to string, args []string) error {
	for _, flag := range []string{"delete", "include", "exclude", "compare", "bandwidth", "watch", "rescan"} {
		if c.IsSet(flag) {
			return usage("--%s is for whole caches, not for the closure of some paths", flag)
		}
	}
	args, err := readPaths(c, args)
	if err != nil {
		return err
	}
	cache, trust, err := openCache(c, from)
	if err != nil {
		return err
	}
	defer cache.Close()
	var roots []layout.StorePath
	for _, arg := range args {
		p, err := cache.Resolve(c.Context, leadingTo(cache.StoreDir(), arg))
		if err != nil {
			return aboutCachePath(err, from, arg)
		}
		roots = append(roots, p)
	}
	tree, err := openTree(c, to, writeTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := takes(c, tree, cache.StoreDir()); err != nil {
		return err
	}
	w := &layout.Writer{Tree: tree, StoreDir: cache.StoreDir(), Method: compress.Zstd}
	im := &export.Run{Source: cache, Writer: w, Trust: trust, Jobs: c.Int("jobs"), Progress: &export.Progress{}}
	return planAndExport(c, im, roots, treeName(tree, to))
}
