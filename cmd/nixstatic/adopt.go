package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/adopt"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

func adoptCommand() *cli.Command {
	return &cli.Command{
		Name:      "adopt",
		Usage:     "make a checked cache of what nix copy or another cache left",
		ArgsUsage: "CACHE",
		Description: "Reads every NAR once and compares it with its narinfo. Listings are written, narinfos\n" +
			"gain FileHash, FileSize and our signatures, and NARs that are not named by the hash of\n" +
			"their file get that name. What is wrong goes into .nixstatic/quarantine, with the paths\n" +
			"that refer to it, and is told; nothing is removed. nixstatic verify --deep accepts the\n" +
			"cache afterwards, and clients can read it throughout. A run that was interrupted is\n" +
			"gone on with by the next.\n\n" +
			"A path that refers to one of another cache is whole with --upstream, which names that\n" +
			"cache; without, it goes into the quarantine, and comes back in a run with --upstream.\n\n" +
			"To sign is to vouch: with --trusted-public-key, our keys sign only what one of these has\n" +
			"signed, or what proves itself.\n\n" +
			"The exit code is 0 if all was right or was put right, 3 if something is in the\n" +
			"quarantine or was left as it is, and 1 if something could not be read.\n\n" +
			"Examples:\n" +
			"   nixstatic adopt -n /srv/cache\n" +
			"   nixstatic adopt /srv/cache -k secret.key --upstream https://cache.nixos.org\n" +
			"   nixstatic adopt 's3://bucket?endpoint=https://minio.example.org' --recompress zstd\n" +
			"   nixstatic adopt --json /srv/cache | jq '.quarantined[].path'",
		Flags: []cli.Flag{
			keyFlag(),
			&cli.StringSliceFlag{Name: "trusted-public-key", Usage: "sign only what `KEY` (name:base64) has signed, or what proves itself; may be repeated"},
			&cli.StringFlag{Name: "recompress", Usage: "compress NARs that are compressed otherwise anew: `METHOD[:LEVEL]`, zstd or xz"},
			&cli.BoolFlag{Name: "debug-info", Usage: "link build IDs to the debug files in the paths"},
			&cli.StringSliceFlag{Name: "upstream", Usage: "paths that the cache at `URL` has need not be here; may be repeated"},
			&cli.StringSliceFlag{Name: "upstream-key", Usage: "public `KEY` of the upstream, in the order of --upstream; that of cache.nixos.org is known"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords for --upstream are in `FILE` instead of ~/.netrc"},
			jobsFlag("NARs"),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "read all, tell what would be done, and change nothing"},
			jsonFlag(), quietFlag(),
		},
		Action: runAdopt,
	}
}

// adoptResult is what --json prints.
type adoptResult struct {
	Version int    `json:"version"`
	Tree    string `json:"tree"`
	DryRun  bool   `json:"dryRun"`
	adopt.Outcome
}

func runAdopt(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	if _, err := locate(c, location, changeTree); err != nil {
		return err
	}
	o := adopt.Options{DebugInfo: c.Bool("debug-info"), Jobs: c.Int("jobs"), Dry: c.Bool("dry-run"), Progress: &adopt.Progress{}}
	if o.Method, o.Level, err = recompression(c.String("recompress")); err != nil {
		return err
	}
	if o.Trusted, err = signer.ParseTrusted(c.StringSlice("trusted-public-key")...); err != nil {
		return usage("--trusted-public-key: %v", err)
	}
	if o.Keys, err = loadKeys(c); err != nil {
		return err
	}
	tree, err := openTree(c, location, changeTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	if !anythingIn(c, tree) {
		return withHint(fmt.Errorf("%s is not a binary cache: there is nothing of one in it", location), "check the path; nixstatic init makes a new cache")
	}
	if o.Provided, err = adoptUpstreams(c, tree); err != nil {
		return err
	}
	o.Memory = cacheFile("adopt", treeName(tree, location))
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(elapsed time.Duration) string {
		p := o.Progress
		if total := p.TotalBytes.Load(); total > 0 {
			return fmt.Sprintf("adopt: %d of %s, %s", p.NARs.Load(), plural(p.TotalNARs.Load(), "NAR"), amount(p.Bytes.Load(), total, elapsed))
		}
		return fmt.Sprintf("adopt: %s", plural(p.Paths.Load(), "narinfo"))
	})
	defer m.end()
	if !c.Bool("json") {
		o.Found = func(f adopt.Finding) {
			m.above(func() { fmt.Fprintln(c.App.Writer, printable(f.String())) })
		}
	}
	o.Waiting = func(w *lock.Wait) {
		if w != nil && !c.Bool("quiet") {
			m.above(func() { say(c, "%s", w) })
		}
	}
	out, err := adopt.Run(c.Context, tree, o)
	m.end()
	if err != nil {
		return withKept(err)
	}
	if !o.Dry && (out.Records > 0 || len(out.Back)+len(out.Quarantined) > 0 || out.CacheInfo) {
		if info, err := layout.ReadCacheInfo(c.Context, tree); err == nil {
			newPage(tree, info.StoreDir).finish(c, o.Keys)
		}
	}
	return adoptOutcome(c, adoptResult{1, location, o.Dry, out})
}

// withKept says that the work so far is not lost.
func withKept(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("adopt: %w", err)
}

// recompression reads METHOD[:LEVEL].
func recompression(text string) (method compress.Method, level int, err error) {
	if text == "" {
		return "", 0, nil
	}
	name, number, has := strings.Cut(text, ":")
	if has {
		if _, err := fmt.Sscanf(number, "%d", &level); err != nil || fmt.Sprint(level) != number {
			return "", 0, usage("--recompress %s: the level is not a number", text)
		}
	}
	method, err = compress.Parse(name)
	if err != nil || name == "" || !method.Writable() {
		return "", 0, usage("--recompress %s: want METHOD or METHOD:LEVEL, such as zstd or xz:9; methods are %s", text, methodNames())
	}
	if err := method.CheckLevel(level); err != nil {
		return "", 0, usage("--recompress: %v", err)
	}
	return method, level, nil
}

// adoptUpstreams returns what tells whether an upstream provides a path: one of the
// tree's own, or of --upstream.
func adoptUpstreams(c *cli.Context, tree openedTree) (func(context.Context, layout.StorePath) (bool, error), error) {
	provision, err := readProvision(c.Context, tree)
	if err != nil || len(c.StringSlice("upstream")) == 0 {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}))
	caches, err := readUpstreams(c)
	if err != nil {
		return nil, err
	}
	config := upstream.Config{StoreDir: layout.DefaultStoreDir, Caches: caches, Log: log, Timeout: time.Minute}
	if info, err := layout.ReadCacheInfo(c.Context, tree); err == nil {
		config.StoreDir = info.StoreDir
	}
	if !c.Bool("dry-run") {
		config.Tree = tree
	}
	up, err := upstream.Open(c.Context, config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, p layout.StorePath) (bool, error) {
		if provided, err := provision.Provides(ctx, p); provided || err != nil {
			return provided, err
		}
		return up.Provided(ctx, p)
	}, nil
}

func adoptOutcome(c *cli.Context, r adoptResult) error {
	if c.Bool("json") {
		if err := printJSON(c.App.Writer, r); err != nil {
			return err
		}
	} else {
		sayAdopted(c, r)
	}
	if n := int64(len(r.Unknown)); n > 0 {
		return withHint(fmt.Errorf("%s could not be told or put right: %s", plural(n, "thing"), printable(strings.Join(r.Unknown[:min(n, 10)], "; "))),
			"they were left as they are; see to them, and run adopt again")
	}
	if len(r.Quarantined) > 0 {
		return errProblems
	}
	return nil
}

func sayAdopted(c *cli.Context, r adoptResult) {
	if c.Bool("quiet") {
		return
	}
	verb := "adopted"
	if r.DryRun {
		verb = "would adopt"
	}
	var did []string
	for _, d := range []struct {
		n          int64
		noun, done string
	}{
		{r.Listings, "listing", "written"}, {r.Records, "narinfo", "completed"}, {r.Moved, "NAR", "given its own name"},
		{r.Recompressed, "NAR", "compressed anew"}, {r.Signed, "path", "signed"}, {r.Links, "debug link", "written"},
		{int64(len(r.Back)), "path", "brought back"},
	} {
		if d.n > 0 {
			did = append(did, plural(d.n, d.noun)+" "+d.done)
		}
	}
	if len(did) == 0 {
		did = []string{"nothing to do"}
	}
	say(c, "%s %s: %s", verb, plural(r.Paths, "path"), strings.Join(did, ", "))
	if r.Unsigned > 0 {
		say(c, "note: %s not signed, since no trusted key has signed it before", plural(r.Unsigned, "path"))
	}
	missing := int64(0)
	for _, f := range r.Quarantined {
		if f.Kind == "missing-reference" {
			missing++
		}
	}
	if n := int64(len(r.Quarantined)); n > 0 && r.DryRun {
		say(c, "%s would go into the quarantine", plural(n, "object"))
	} else if n > 0 {
		say(c, "%s in the quarantine, .nixstatic/quarantine, with the reasons beside: export again from their source the paths that lost one", plural(n, "object"))
	}
	if missing > 0 {
		say(c, "hint: %s set aside for want of others: if these come from another cache, name it: nixstatic adopt --upstream https://cache.nixos.org %s",
			plural(missing, "path"), quoted(r.Tree))
	}
}
