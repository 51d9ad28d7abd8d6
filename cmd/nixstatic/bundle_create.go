package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/bundle"
	"github.com/nixstatic/nixstatic/layout/gc"
)

func bundleCreateCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "write what the other side lacks into a file",
		ArgsUsage: "CACHE [PATH…]",
		Description: "Writes the closure of each PATH, or all that CACHE has where none is named, without\n" +
			"what a STATE says is there already. PATH is a store path, its hash, or - for a list\n" +
			"on standard input. CACHE is a directory, a bucket or a URL.\n\n" +
			"With --max-size the bundle is in parts: FILE.1, FILE.2 and so on. Each can be applied by\n" +
			"itself, after those before it; a NAR that is larger than a part is cut, and its parts\n" +
			"are applied together.\n\n" +
			"The file is a tar of the files of a cache: tar xf into an empty folder makes a cache.\n\n" +
			"Examples:\n" +
			"   nixstatic bundle create --have have -o b.tar ./cache /nix/store/…-app-1.0\n" +
			"   nixstatic bundle create -n --have have ./cache /nix/store/…-app-1.0\n" +
			"   nixstatic bundle create --have have --max-size 4GB -o /media/stick/b.tar ./cache\n" +
			"   nixstatic bundle create -o b.tar https://cache.nixos.org /nix/store/…-hello-2.12",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the bundle into `FILE`"},
			&cli.StringSliceFlag{Name: "have", Usage: "leave out what is in the `STATE` that bundle state printed, - for standard input; may be repeated"},
			&cli.BoolFlag{Name: "logs", Usage: "bring the build logs along"},
			&cli.StringFlag{Name: "max-size", Usage: "write parts of at most `SIZE`, such as 4GB"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would be written, and write nothing"},
			jsonFlag(), quietFlag(),
		},
		Action: runBundleCreate,
	}
}

// bundleResult is what bundle create --json prints.
type bundleResult struct {
	Files   []string `json:"files"`
	Paths   int64    `json:"paths"`   // in the bundle
	Present int64    `json:"present"` // paths that the other side has
	Bytes   int64    `json:"bytes"`   // of the NARs with --dry-run, else of the files
	Seconds float64  `json:"seconds"`
	DryRun  bool     `json:"dryRun,omitempty"`
	Missing []string `json:"missing,omitempty"` // with --dry-run, what would be in the bundle
}

func runBundleCreate(c *cli.Context) error {
	if c.NArg() < 1 {
		return usage("bundle create takes the cache, and paths")
	}
	location := c.Args().First()
	if _, err := locate(c, location, readCache); err != nil {
		return err
	}
	o, files, err := bundleOutput(c)
	if err != nil {
		return err
	}
	if slices.Contains(c.StringSlice("have"), "-") && slices.Contains(c.Args().Tail(), "-") {
		return usage("standard input cannot be read twice: --have - takes a state from it")
	}
	have, err := readStates(c)
	if err != nil {
		return err
	}
	var args []string
	if c.NArg() > 1 {
		if args, err = readPaths(c, c.Args().Tail()); err != nil {
			return err
		}
	}
	cache, plan, err := planBundle(c, location, args, have)
	if err != nil {
		return err
	}
	defer cache.Close()
	result := bundleResult{Files: []string{}, Paths: int64(len(plan.Lacking)), Present: plan.Present, Bytes: plan.Bytes()}
	if c.Bool("dry-run") {
		return printBundlePlan(c, plan, result)
	}
	if result.Paths == 0 {
		if c.Bool("json") {
			return printJSON(c.App.Writer, result)
		}
		say(c, "nothing to carry: the other side has all %s", plural(plan.Present, "path"))
		return nil
	}
	defer files.Discard()
	o.Progress = new(atomic.Int64)
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(elapsed time.Duration) string {
		return "bundle create: " + amount(o.Progress.Load(), max(o.Progress.Load(), result.Bytes), elapsed)
	})
	defer m.end()
	start := time.Now()
	err = plan.Write(c.Context, cache, files.Next, o)
	if err == nil {
		result.Files, err = files.Done()
	}
	m.end()
	if err != nil {
		return aboutBundleFile(err, location)
	}
	result.Bytes, result.Seconds = 0, time.Since(start).Seconds()
	for _, name := range result.Files {
		if info, err := os.Stat(name); err == nil {
			result.Bytes += info.Size()
		}
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, result)
	}
	if !c.Bool("quiet") {
		into := result.Files[0]
		if n := len(result.Files); n > 1 {
			into = fmt.Sprintf("%s … %s", into, result.Files[n-1])
		}
		say(c, "%s written to %s (%s); %d the other side has", plural(result.Paths, "path"), into, bytesize(result.Bytes), result.Present)
	}
	return nil
}

// bundleOutput reads the flags that say what is written where.
func bundleOutput(c *cli.Context) (o bundle.Options, files *bundle.Files, err error) {
	o.Logs = c.Bool("logs")
	files = &bundle.Files{Name: c.String("output"), Parts: c.IsSet("max-size")}
	if files.Name == "" && !c.Bool("dry-run") {
		return o, nil, usage("bundle create needs --output, the file to write")
	}
	if !files.Parts {
		return o, files, nil
	}
	if o.MaxPart, err = gc.ParseSize(c.String("max-size")); err != nil {
		return o, nil, usage("--max-size: %v", err)
	}
	if o.MaxPart < bundle.MinPart {
		return o, nil, usage("--max-size %s: the least is %dMiB", c.String("max-size"), bundle.MinPart>>20)
	}
	return o, files, nil
}

// readStates reads what the other side has, nil where nothing is said of it.
func readStates(c *cli.Context) (*bundle.State, error) {
	var all *bundle.State
	for _, name := range c.StringSlice("have") {
		state, err := readState(c, name)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = state
		} else if err := all.Join(state); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readState(c *cli.Context, name string) (*bundle.State, error) {
	in, about := c.App.Reader, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in, about = f, name
	}
	state, err := bundle.ReadState(in)
	switch {
	case errors.As(err, new(*bundle.BadStateError)):
		return nil, withHint(fmt.Errorf("%s: %w", about, err), "nixstatic bundle state CACHE -o FILE makes one on the other side; copy it whole, and as it is")
	case err != nil:
		return nil, fmt.Errorf("%s: %w", about, err)
	}
	return state, nil
}

// planBundle opens the cache and finds out what the other side lacks of it.
func planBundle(c *cli.Context, location string, args []string, have *bundle.State) (*looked, *bundle.Plan, error) {
	open := openToList
	if len(args) > 0 {
		open = openToLook
	}
	cache, err := open(c, location)
	if errors.Is(err, layout.ErrNotListable) {
		err = withHint(err, "name the paths whose closure is wanted")
	}
	if err != nil {
		return nil, nil, err
	}
	plan, err := planFrom(c, cache, location, args, have)
	if err != nil {
		cache.Close() // err says more
		return nil, nil, err
	}
	return cache, plan, nil
}

func planFrom(c *cli.Context, cache *looked, location string, args []string, have *bundle.State) (*bundle.Plan, error) {
	if have != nil && have.StoreDir != cache.storeDir {
		return nil, fmt.Errorf("the state is of a cache for the store directory %s, and %s is for %s", have.StoreDir, cache.text, cache.storeDir)
	}
	var roots []layout.Key
	for _, arg := range args {
		n, inside, err := cache.record(c.Context, arg)
		if err == nil && inside != "" {
			err = usage("%s is inside of a store path: name the store path", arg)
		}
		if err != nil {
			return nil, err
		}
		roots = append(roots, layout.NarInfoKey(n.Path))
	}
	var seen atomic.Int64
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("bundle create: %s looked up", plural(seen.Load(), "path"))
	})
	defer m.end()
	plan, err := bundle.MakePlan(c.Context, cache.openedReader, roots, have, &seen)
	if errors.As(err, new(*bundle.MissingError)) {
		err = withHint(err, "bring it into the cache first, as with nixstatic sync https://cache.nixos.org %s PATH; nixstatic verify tells what else is missing", quoted(location))
	}
	return plan, err
}

func printBundlePlan(c *cli.Context, plan *bundle.Plan, r bundleResult) error {
	r.DryRun = true
	for _, path := range plan.Lacking {
		r.Missing = append(r.Missing, path.Path.Abs(plan.StoreDir))
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, r)
	}
	for _, path := range r.Missing {
		if _, err := io.WriteString(c.App.Writer, path+"\n"); err != nil {
			return err
		}
	}
	say(c, "would write %s (%s); %d the other side has", plural(r.Paths, "path"), bytesize(r.Bytes), r.Present)
	return nil
}

// aboutBundleFile tells what to do where a bundle could not be written.
func aboutBundleFile(err error, location string) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return withHint(err, "name another file, or remove that one; a bundle is not overwritten")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return withHint(err, "name a file on a medium with more room, or write parts: --max-size SIZE; nothing was left there")
	case errors.Is(err, bundle.ErrPart):
		return withHint(err, "give a larger --max-size, or leave out --logs")
	case errors.Is(err, bundle.ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return withHint(err, "nixstatic verify --deep %s tells what is wrong with the cache; nothing was written", quoted(location))
	}
	return err
}
