package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/nixstore"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

func pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "send store paths and their closure to a cache",
		ArgsUsage: "[TO] PATH…",
		Description: "TO is the upload URL of nixstatic serve, any other web server that takes PUT, a\n" +
			"bucket or a directory. PATH is a store path, a path inside one, a symbolic link to\n" +
			"one such as ./result, or - for a list on standard input.\n\n" +
			"A server of nixstatic's is asked once what it lacks of the whole closure. Large NARs\n" +
			"go to it in pieces, so that they pass proxies which limit the size of an upload, and\n" +
			"what has arrived is not sent again after a connection broke or the command was killed.\n" +
			"It signs by itself; other servers, buckets and directories get what -k says.\n\n" +
			"User names and passwords are read from netrc: a token in a URL is shown to everyone\n" +
			"who sees the command line.\n\n" +
			"Examples:\n" +
			"   nixstatic push https://cache.example.org/upload ./result\n" +
			"   nixstatic push --root acme/app/main@$CI_PIPELINE_ID https://cache.example.org/upload ./result\n" +
			"   nixstatic push --upstream https://cache.nixos.org https://cache.example.org/upload ./result\n" +
			"   nix-store -q --requisites ./result | nixstatic push https://cache.example.org/upload --stdin\n" +
			"   nixstatic push -k secret.key 's3://bucket?region=eu-west-1' ./result",
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "to", Aliases: []string{"t"}, EnvVars: []string{"NIXSTATIC_TO"}, Usage: "push to `TO`; all arguments are paths then"},
			&cli.StringFlag{Name: "pin", Usage: "pin the paths as `NAME` once they are there; a server wants a token of scope admin for that"},
			&cli.BoolFlag{Name: "stdin", Usage: "read paths from standard input, too, one a line"},
			&cli.BoolFlag{Name: "no-closure", Usage: "the paths alone; what they refer to must be in the cache"},
			&cli.BoolFlag{Name: "build-deps", Usage: "also what they were built from, as far as it is in the store"},
			&cli.StringFlag{Name: "store", Usage: "take the paths from `STORE`: a root as for nix --store, or unix:// and a socket"},
			&cli.BoolFlag{Name: "force", Usage: "send again what is there already"},
		}, sendFlags()...),
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would be sent, and send nothing"},
			jsonFlag(), quietFlag(), verboseFlag()),
		Action: runPush,
	}
}

// sendFlags say how paths are sent, by push and by watch.
func sendFlags() []cli.Flag {
	return append([]cli.Flag{
		rootFlag(),
		&cli.StringSliceFlag{Name: "exclude", Usage: "leave out paths whose name matches the `REGEX`, and what refers to them; may be repeated"},
		&cli.StringSliceFlag{Name: "upstream", Usage: "leave out what the cache at `URL` has; may be repeated"},
		&cli.StringSliceFlag{Name: "upstream-key", Usage: "the public `KEY` of the upstream (not needed for cache.nixos.org)"},
		&cli.BoolFlag{Name: "debug-info", Usage: "link build IDs to the debug files in the paths"},
		&cli.BoolFlag{Name: "logs", Usage: "bring the build logs along"},
		&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
		jobsFlag("paths"),
	}, writeFlags()...)
}

func runPush(c *cli.Context) error {
	to, args, err := pushTarget(c)
	if err != nil {
		return err
	}
	if c.Bool("stdin") {
		args = append(args, "-")
	}
	args, err = readPaths(c, args)
	if err != nil && !(errors.Is(err, errEmptyList) && c.Bool("stdin") && !c.IsSet("pin")) {
		return err // a program that writes the list may have nothing to push
	}
	if c.IsSet("pin") {
		if err := layout.CheckPinName(c.String("pin")); err != nil {
			return usage("--pin: %v", err)
		}
	}
	exclude, err := excluded(c.StringSlice("exclude"))
	if err != nil {
		return err
	}
	if err := upstreamFlags(c); err != nil {
		return err
	}
	id, err := runOfExport(c)
	if err != nil {
		return err
	}
	if _, err := readMethod(c); err != nil {
		return err
	}
	tree, err := openPush(c, to, id, nil)
	if err != nil {
		return err
	}
	defer tree.Close()
	if id.Root != "" && layout.TraitsOf(tree).Blind && !c.Bool("dry-run") {
		if _, err := layout.Missing(c.Context, tree, nil); errors.Is(err, errors.ErrUnsupported) {
			return withHint(fmt.Errorf("%s keeps no roots: %w", withoutUser(to), err), "--root goes with the upload URL of nixstatic serve, a bucket or a directory")
		} else if err != nil {
			return err
		}
	}
	store, err := nixstore.Open(c.Context, nixstore.Options{Store: c.String("store"), Lazy: true})
	if err != nil {
		return err
	}
	defer store.Close()
	writer, err := newWriter(c, tree, store.StoreDir())
	if err != nil {
		return err
	}
	var roots []layout.StorePath
	for _, arg := range args {
		p, err := store.Resolve(c.Context, arg)
		if err != nil {
			return aboutPath(err, arg)
		}
		roots = append(roots, p)
	}
	named := len(roots)
	if c.Bool("build-deps") {
		if roots, err = withBuildDeps(c, store, roots); err != nil {
			return err
		}
	}
	im := &export.Run{Source: store, Writer: writer, Trust: signer.Trust{All: true}, Exclude: exclude,
		NoClosure: c.Bool("no-closure"), Force: c.Bool("force"), Logs: c.Bool("logs"),
		Jobs: c.Int("jobs"), Progress: &export.Progress{}}
	if im.Provided, err = providedBy(c, writer); err != nil {
		return err
	}
	if err := planAndExport(c, im, roots, withoutUser(to)); err != nil || !c.IsSet("pin") || c.Bool("dry-run") {
		return err
	}
	return pinPushed(c, to, tree, store.StoreDir(), roots[:named])
}

// pushTarget returns where to push to, and what. A first argument that is a URL counts
// for more than the environment, and a flag for more than both.
func pushTarget(c *cli.Context) (to string, args []string, err error) {
	args = c.Args().Slice()
	if to = c.String("to"); to != "" && (givenAsFlag(c, "to") || len(args) == 0 || !strings.Contains(args[0], "://")) {
		return to, args, nil
	}
	if len(args) == 0 {
		return "", nil, usage("push takes the cache to push to, and paths")
	}
	return args[0], args[1:], nil
}

// givenAsFlag reports whether a flag is on the command line, and not only in the
// environment.
func givenAsFlag(c *cli.Context, name string) bool {
	for _, f := range c.Command.Flags {
		if slices.Contains(f.Names(), name) {
			for _, variable := range f.(cli.DocGenerationFlag).GetEnvVars() {
				if os.Getenv(variable) != "" && os.Getenv(variable) == c.String(name) {
					return false
				}
			}
		}
	}
	return c.IsSet(name)
}

// pinPushed pins paths where they were pushed to.
func pinPushed(c *cli.Context, to string, tree layout.Tree, storeDir string, paths []layout.StorePath) error {
	name := c.String("pin")
	if !layout.TraitsOf(tree).Blind {
		_, err := gc.Set(c.Context, tree, gc.PinChange{Name: name, Paths: paths})
		return aboutPin(err, to, name)
	}
	// At the URL of a run there are no pins.
	server, err := openPush(c, to, layout.RunID{}, nil)
	if err != nil {
		return err
	}
	defer server.Close()
	var text strings.Builder
	for _, p := range paths {
		text.WriteString(p.Abs(storeDir) + "\n")
	}
	if err := server.Put(c.Context, layout.PinKey(name), layout.Bytes([]byte(text.String())), layout.PutOptions{}); err != nil {
		return withHint(fmt.Errorf("the paths were pushed, and are not pinned: %w", err), "a pin needs a token of scope admin, and a server that is nixstatic's")
	}
	return nil
}

// ofRun returns the URL at which a server of ours takes what a run pushes. To look
// counts as no run.
func ofRun(c *cli.Context, to string, id layout.RunID) string {
	if id.Root == "" || c.Bool("dry-run") {
		return to
	}
	return strings.TrimRight(to, "/") + "/root/" + id.Root + "/" + id.Run
}

// excluded returns what tells the paths that are to be left out, nil if there are none.
func excluded(patterns []string) (func(layout.StorePath) bool, error) {
	var all []*regexp.Regexp
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, usage("--exclude: %v", err)
		}
		all = append(all, re)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return func(p layout.StorePath) bool {
		for _, re := range all {
			if re.MatchString(p.Name()) {
				return true
			}
		}
		return false
	}, nil
}

// withBuildDeps adds what paths were built from.
func withBuildDeps(c *cli.Context, store *nixstore.Store, roots []layout.StorePath) ([]layout.StorePath, error) {
	deps, unknown, err := store.BuildDeps(c.Context, roots)
	if err != nil {
		return nil, err
	}
	if unknown > 0 {
		say(c, "note: the derivations of %s are not in the store, so that nobody can tell what they were built from", plural(int64(unknown), "path"))
	}
	return append(roots, deps...), nil
}

// upstreamFlags refuses keys that belong to no upstream, and upstreams without keys.
func upstreamFlags(c *cli.Context) error {
	urls, keys := c.StringSlice("upstream"), c.StringSlice("upstream-key")
	if len(keys) > 0 && len(urls) == 0 {
		return usage("--upstream-key goes with --upstream")
	}
	_, err := pairKeys("upstream", urls, keys)
	return err
}

// providedBy returns what tells the paths that an upstream provides, nil if there is
// none. A tree of ours remembers what it depends on; a server has its own upstreams.
func providedBy(c *cli.Context, w *layout.Writer) (func(context.Context, layout.StorePath) (bool, error), error) {
	log := slog.New(slog.DiscardHandler)
	caches, err := readUpstreams(c)
	if err != nil || len(caches) == 0 {
		return nil, err
	}
	config := upstream.Config{StoreDir: w.StoreDir, Caches: caches, Log: log}
	if !layout.TraitsOf(w.Tree).Blind && !c.Bool("dry-run") {
		if _, err := initTree(c.Context, w); err != nil {
			return nil, err
		}
		config.Tree = w.Tree
	}
	up, err := upstream.Open(c.Context, config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, p layout.StorePath) (bool, error) {
		there, err := up.Provided(ctx, p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, withHint(err, "leave --upstream away to send what it may have as well")
		}
		return there, nil
	}, nil
}
