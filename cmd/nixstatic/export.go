package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// nixosKey is trusted by every Nix unless it is told otherwise, and so here.
const nixosKey = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="

func exportCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "export",
		Usage:     "write store paths and their closure into a cache",
		ArgsUsage: "PATH…",
		Description: "PATH is a store path, a path inside one, a symbolic link to one such as ./result,\n" +
			"or - for a list on standard input. What the cache has already is not read again,\n" +
			"so a run that was interrupted is completed by running it again.\n\n" +
			"With --from the paths come from another binary cache, and no Nix is needed. Its\n" +
			"NARs are kept as they are unless --compression is given. Paths must be signed by\n" +
			"a trusted key (cache.nixos.org's unless others are named) or be content-addressed.\n\n" +
			"Examples:\n" +
			"   nixstatic export --to ./cache ./result\n" +
			"   nixstatic export --to ./cache -k secret.key --debug-info --logs /nix/store/…-hello-2.12\n" +
			"   nixstatic export --to ./cache --root acme/app/main@$CI_PIPELINE_ID ./result\n" +
			"   nix-store -q --requisites ./result | nixstatic export --to ./cache -\n" +
			"   nixstatic export --to ./cache --upstream https://cache.nixos.org -k secret.key ./result\n" +
			"   nixstatic export --from https://cache.nixos.org --to ./cache /nix/store/…-hello-2.12",
		Flags: append(append([]cli.Flag{
			toFlag(),
			&cli.StringFlag{Name: "from", Usage: "take the paths from the binary cache at `URL` (https://, http://, file:// or a directory)"},
			&cli.StringFlag{Name: "store", Usage: "take the paths from `STORE`: a root as for nix --store, or unix:// and a socket"},
			&cli.BoolFlag{Name: "no-closure", Usage: "the paths alone; what they refer to must be in the cache"},
			&cli.BoolFlag{Name: "force", Usage: "write again what the cache has already"},
			&cli.BoolFlag{Name: "debug-info", Usage: "link build IDs to the debug files in the paths"},
			&cli.BoolFlag{Name: "logs", Usage: "bring the build logs along"},
			rootFlag(),
			trustedKeysFlag("believe what `KEY` (name:base64) has signed; may be repeated (with --from)"),
			&cli.BoolFlag{Name: "no-check-sigs", Usage: "believe everything (with --from)"},
			&cli.StringSliceFlag{Name: "upstream", Usage: "leave out what the cache at `URL` has, and declare that in the cache; may be repeated"},
			&cli.StringSliceFlag{Name: "upstream-key", Usage: "the public `KEY` of the upstream (not needed for cache.nixos.org)"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords for --from are in `FILE` instead of ~/.netrc"},
		}, writeFlags()...),
			jobsFlag("paths"),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would be written, and write nothing"},
			jsonFlag(), quietFlag(), verboseFlag()),
		Action: runExport,
	})
}

// A pathSource is a source that understands what people type.
type pathSource interface {
	export.Source
	Resolve(ctx context.Context, arg string) (layout.StorePath, error)
}

func runExport(c *cli.Context) error {
	if err := need(c, "to"); err != nil {
		return err
	}
	if _, err := runOfExport(c); err != nil {
		return err
	}
	if err := upstreamFlags(c); err != nil {
		return err
	}
	if _, err := locate(c, c.String("to"), writeTree); err != nil {
		return err
	}
	if _, err := readMethod(c); err != nil {
		return err
	}
	args, err := pathArgs(c)
	if err != nil {
		return err
	}
	source, trust, err := openSource(c)
	if err != nil {
		return err
	}
	if closer, ok := source.(io.Closer); ok {
		defer closer.Close()
	}
	var roots []layout.StorePath
	for _, arg := range args {
		if c.IsSet("from") {
			arg = leadingTo(source.StoreDir(), arg)
		}
		p, err := source.Resolve(c.Context, arg)
		if err != nil {
			return aboutArg(c, err, arg)
		}
		roots = append(roots, p)
	}
	tree, err := openTree(c, c.String("to"), writeTree)
	if err != nil {
		return err
	}
	defer tree.Close()
	writer, err := newWriter(c, tree, source.StoreDir())
	if err != nil {
		return err
	}
	im := &export.Run{Source: source, Writer: writer, Trust: trust,
		NoClosure: c.Bool("no-closure"), Force: c.Bool("force"), Logs: c.Bool("logs"),
		Recompress: c.IsSet("compression"), Jobs: c.Int("jobs"), Progress: &export.Progress{}}
	if im.Provided, err = providedBy(c, writer); err != nil {
		return err
	}
	return planAndExport(c, im, roots, c.String("to"))
}

// planAndExport plans, runs and reports an import.
func planAndExport(c *cli.Context, im *export.Run, roots []layout.StorePath, to string) error {
	quiet, progress := c.Bool("quiet"), im.Progress
	m := startMeter(c.App.ErrWriter, quiet, func(time.Duration) string {
		return fmt.Sprintf("%s: %s looked up", c.Command.Name, plural(progress.Planned.Load(), "path"))
	})
	plan, err := im.Plan(c.Context, roots)
	m.end()
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return printPlan(c, im, plan, to)
	}
	m = startMeter(c.App.ErrWriter, quiet, func(elapsed time.Duration) string {
		return fmt.Sprintf("%s: %d of %s, %s", c.Command.Name, progress.PathsDone.Load(), plural(progress.Paths.Load(), "path"),
			amount(progress.BytesDone.Load(), progress.Bytes.Load(), elapsed))
	})
	if c.Bool("verbose") {
		im.Working = func(p layout.StorePath) {
			m.above(func() { say(c, "%s: %s", c.Command.Name, p.Abs(im.Writer.StoreDir)) })
		}
	}
	start := time.Now()
	made, err := carryOut(c, im, plan)
	m.end()
	if err != nil {
		return err
	}
	if err := printResult(c, im, plan, to, time.Since(start)); err != nil || !made || quiet || c.Bool("json") {
		return err
	}
	tellNext(c, to, im.Writer.Keys)
	return nil
}

// carryOut does what is planned, keeps the page for browsers up to date, and reports
// whether the tree was not there yet.
func carryOut(c *cli.Context, im *export.Run, plan *export.Plan) (made bool, err error) {
	if made, err = initTree(c.Context, im.Writer); err != nil {
		return made, err
	}
	if err := noteExport(c, im.Writer.Tree, plan); err != nil {
		return made, err
	}
	// The URL of a run has not got a page; its server keeps its own up to date.
	var shown *page
	if !(c.String("root") != "" && layout.TraitsOf(im.Writer.Tree).Blind) {
		if shown, err = followPage(c.Context, im.Writer); err != nil {
			return made, err
		}
		defer shown.finish(c, im.Writer.Keys)
	}
	if len(plan.Missing) > 0 {
		if err := shown.begin(c.Context); err != nil {
			return made, err
		}
	}
	if len(plan.Missing) > 0 || im.Logs {
		im.Writer.Pool = compress.NewPool(0)
		defer im.Writer.Pool.Close()
	}
	if err := im.Do(c.Context, plan); err != nil {
		shown.tear()
		return made, err
	}
	return made, nil
}

// exportResult is what --json prints.
type exportResult struct {
	Tree         string   `json:"tree"`
	Paths        int64    `json:"paths"`   // of the closure
	Written      int64    `json:"written"` // paths
	Present      int64    `json:"present"` // paths that the tree had already
	NarBytes     int64    `json:"narBytes"`
	FileBytes    int64    `json:"fileBytes"`
	Logs         int64    `json:"logs"`
	Realisations int64    `json:"realisations"`
	Seconds      float64  `json:"seconds"`
	Unsigned     int64    `json:"unsigned"` // paths without any signature that need one
	DryRun       bool     `json:"dryRun,omitempty"`
	Missing      []string `json:"missing,omitempty"`  // with --dry-run
	Provided     int64    `json:"provided,omitempty"` // paths that an upstream has
	Excluded     int64    `json:"excluded,omitempty"` // paths that were left out on request
}

func newResult(plan *export.Plan, to string) exportResult {
	return exportResult{Tree: to, Paths: int64(len(plan.Missing) + len(plan.Present) + len(plan.Provided) + len(plan.Excluded)),
		Written: int64(len(plan.Missing)), Present: int64(len(plan.Present)), NarBytes: plan.NarBytes(),
		Provided: int64(len(plan.Provided)), Excluded: int64(len(plan.Excluded))}
}

func printPlan(c *cli.Context, im *export.Run, plan *export.Plan, to string) error {
	r := newResult(plan, to)
	r.DryRun, r.Written = true, 0
	for _, step := range plan.Missing {
		r.Missing = append(r.Missing, step.Info.Path.Abs(im.Writer.StoreDir))
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, r)
	}
	for _, path := range r.Missing {
		fmt.Fprintln(c.App.Writer, path)
	}
	say(c, "would write %s (%s); %s already there%s", plural(int64(len(r.Missing)), "path"), bytesize(r.NarBytes), plural(r.Present, "path"), leftOut(r))
	return nil
}

// leftOut says which paths need not or were not to be written.
func leftOut(r exportResult) (text string) {
	if r.Provided > 0 {
		text += fmt.Sprintf("; %d at an upstream", r.Provided)
	}
	if r.Excluded > 0 {
		text += fmt.Sprintf("; %d left out", r.Excluded)
	}
	return text
}

func printResult(c *cli.Context, im *export.Run, plan *export.Plan, to string, took time.Duration) error {
	r := newResult(plan, to)
	r.FileBytes, r.Logs, r.Realisations = im.Progress.Stored.Load(), im.Progress.Logs.Load(), im.Progress.Realisations.Load()
	r.Seconds = took.Seconds()
	if unsigned := im.Unsigned(plan); unsigned > 0 {
		say(c, "note: the keys given have not signed %s of the cache; nixstatic sign does", plural(unsigned, "path"))
	}
	if r.Unsigned = im.Bare(plan); r.Unsigned > 0 && len(im.Writer.Keys) == 0 && !layout.TraitsOf(im.Writer.Tree).Blind {
		// The cache may have others, which this run did not look at.
		all := "none of these paths is signed"
		if r.Unsigned == 1 {
			all = "this path is not signed"
		}
		say(c, "warning: %s", unsignedNote(r.Unsigned, r.Written+r.Present, all, to))
	}
	if deep := im.Progress.Deep.Load(); deep > 0 {
		say(c, "note: %s; %s", plural(deep, "path")+" with more than "+deepLevels, deepNote)
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, r)
	}
	if !c.Bool("quiet") {
		text := fmt.Sprintf("%s written to %s (%s, stored as %s); %d already there",
			plural(r.Written, "path"), r.Tree, bytesize(r.NarBytes), bytesize(r.FileBytes), r.Present)
		text += leftOut(r)
		if r.Logs > 0 {
			text += fmt.Sprintf("; %s", plural(r.Logs, "build log"))
		}
		if r.Realisations > 0 {
			text += fmt.Sprintf("; %s", plural(r.Realisations, "realisation"))
		}
		say(c, "%s", text)
	}
	return nil
}

// openSource opens where the paths come from, and tells whose signatures count.
func openSource(c *cli.Context) (pathSource, signer.Trust, error) {
	from := c.String("from")
	if from == "" {
		for _, flag := range []string{"trusted-public-key", "no-check-sigs", "netrc-file"} {
			if c.IsSet(flag) {
				return nil, signer.Trust{}, usage("--%s goes with --from: the local store is believed as it is", flag)
			}
		}
		store, err := nixstore.Open(c.Context, nixstore.Options{Store: c.String("store"), Lazy: true})
		return store, signer.Trust{All: true}, err
	}
	if c.IsSet("store") {
		return nil, signer.Trust{}, usage("--from and --store exclude each other")
	}
	return openCache(c, from)
}

// A cacheSource is a cache as a source of paths, which the command closes.
type cacheSource struct {
	*export.Cache
	io.Closer
}

// openCache opens another cache, and tells whose signatures count.
func openCache(c *cli.Context, from string) (*cacheSource, signer.Trust, error) {
	trust, err := trustOf(c)
	if err != nil {
		return nil, signer.Trust{}, err
	}
	reader, name, err := openReader(c, from, httpOptions(c))
	if err != nil {
		return nil, signer.Trust{}, err
	}
	opened, err := export.NewCache(c.Context, reader, export.CacheOptions{})
	if err != nil {
		reader.Close() // err says more
		return nil, signer.Trust{}, fmt.Errorf("open cache %s: %w", name, err)
	}
	return &cacheSource{opened, reader}, trust, nil
}

// trustOf tells whose signatures count, by the flags.
func trustOf(c *cli.Context) (signer.Trust, error) {
	texts := c.StringSlice("trusted-public-key")
	if len(texts) == 0 {
		texts = []string{nixosKey}
	}
	trusted, err := signer.ParseTrusted(texts...)
	if err != nil {
		return signer.Trust{}, usage("--trusted-public-key: %v", err)
	}
	return signer.Trust{Keys: trusted, All: c.Bool("no-check-sigs")}, nil
}

// maxListed bounds the list on standard input, in bytes.
const maxListed = 1 << 30

// pathArgs returns the arguments, with - replaced by the lines of standard
// input.
func pathArgs(c *cli.Context) ([]string, error) { return readPaths(c, c.Args().Slice()) }

var errEmptyList = usage("the list on standard input is empty")

// readPaths returns a list with - replaced by the lines of standard input.
func readPaths(c *cli.Context, list []string) ([]string, error) {
	var args []string
	for _, arg := range list {
		if arg != "-" {
			args = append(args, arg)
			continue
		}
		if slices.Contains(c.StringSlice("secret-key-file"), "-") {
			return nil, errTwice()
		}
		lines := bufio.NewScanner(io.LimitReader(c.App.Reader, maxListed))
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				args = append(args, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("read the list of paths: %w", err)
		}
		if len(args) == 0 {
			return nil, errEmptyList
		}
	}
	if len(args) == 0 {
		return nil, usage("%s needs at least one path", c.Command.Name)
	}
	return args, nil
}
