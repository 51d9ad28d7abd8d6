package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/parallel"
	"github.com/nixstatic/nixstatic/layout/seek"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

func findCommand() *cli.Command {
	return &cli.Command{
		Name:      "find",
		Usage:     "find store paths of a cache by name, or files in them",
		ArgsUsage: "CACHE [PATTERN]",
		Description: "CACHE is a directory, s3://…, or an https://… that can be listed, as nixstatic serve can.\n" +
			"PATTERN is part of a name, or a glob for all of it if it has one of * ? [ in it; case\n" +
			"does not matter. The beginning of a hash, eight characters or more, finds that path;\n" +
			"a whole hash or store path does so in every cache, as it need not be listed.\n\n" +
			"--file looks into the listings of these paths and prints the files that match: a glob\n" +
			"without a slash is for the last name of a file, one with a slash for its whole path in\n" +
			"the store path. A path without a listing is told of, and left out.\n\n" +
			"Names come from the search index of the page (nixstatic page), where the cache has one. In\n" +
			"a directory an index that is old is noticed; elsewhere --scan reads the narinfos.\n\n" +
			"The exit code is 0 if something was found, and 1 if nothing was.\n\n" +
			"Examples:\n" +
			"   nixstatic find ./cache hello\n" +
			"   nixstatic find ./cache 'python3-3.1?.*' --json\n" +
			"   nixstatic find ./cache --file libssl.so.3\n" +
			"   nixstatic find 's3://cache' openssl --file 'bin/*'",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "find the files in the paths that match `GLOB`"},
			&cli.BoolFlag{Name: "scan", Usage: "read the narinfos themselves, and not the search index"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			jsonFlag(), quietFlag(),
		},
		Action: runFind,
	}
}

// findResult is what --json prints.
type findResult struct {
	Version  int         `json:"version"`
	Paths    []foundPath `json:"paths"`
	Unlisted []string    `json:"unlisted"` // paths without a listing that can be used, with --file
}

type foundPath struct {
	StorePath string   `json:"storePath"`
	Files     []string `json:"files,omitempty"` // with --file
}

// errNothing ends a find that found nothing.
var errNothing = errors.New("nothing was found")

func runFind(c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 || c.NArg() == 1 && !c.IsSet("file") {
		return usage("find takes the cache and a pattern, or the cache and --file")
	}
	pattern := c.Args().Get(1)
	whole := wholeHash(pattern)
	if whole != "" {
		pattern = pattern[strings.LastIndexByte(pattern, '/')+1:]
	}
	match, err := namePattern(pattern)
	if err != nil {
		return err
	}
	glob := shellGlob(c.String("file"))
	if c.IsSet("file") && glob == "" {
		return usage("--file: the pattern is empty")
	}
	if _, err := path.Match(glob, ""); err != nil {
		return usage("--file: %s is not a pattern: %v", shown(glob), err)
	}
	open := openToFind
	if whole != "" {
		open = openToLook
	}
	cache, err := open(c, c.Args().First())
	if err != nil {
		return err
	}
	defer cache.Close()
	var seen atomic.Int64
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("find: looked at %s", plural(seen.Load(), "path"))
	})
	defer m.end()
	var bad []error
	matching := func(yield func(layout.StorePath, error) bool) {
		looked := func(hash, name string) bool { seen.Add(1); return match(hash, name) }
		paths := cache.paths
		if whole != "" {
			paths = cache.one(whole)
		}
		for p, err := range paths(c.Context, c.Bool("scan"), looked) {
			if errors.As(err, new(*seek.BadRecord)) {
				bad = append(bad, err)
				continue
			}
			if !yield(p, err) {
				return
			}
		}
	}
	out := newFindOutput(c, m)
	for f, err := range foundIn(c.Context, cache, matching, glob) {
		if errors.Is(err, layout.ErrNotListable) {
			return withHint(fmt.Errorf("%s cannot be searched: %s", cache.text, notSearched),
				"give all of the hash of a path; its operator makes an index with nixstatic page")
		}
		if err != nil {
			return err
		}
		if err := out.add(f); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	if len(bad) > 0 {
		return withHint(fmt.Errorf("%s could not be read, and may be what was looked for: %w", plural(int64(len(bad)), "narinfo"), bad[0]), "nixstatic verify tells what is wrong with a cache")
	}
	if out.found == 0 {
		return withHint(errNothing, "a pattern without * ? [ finds every name that has it in it; nixstatic find %s '*' lists all", cache.text)
	}
	return nil
}

// findOutput is what a find tells.
type findOutput struct {
	c     *cli.Context
	m     *meter
	out   *errWriter
	json  findResult
	found int // paths, or files with --file
}

func newFindOutput(c *cli.Context, m *meter) *findOutput {
	return &findOutput{c: c, m: m, out: &errWriter{w: bufio.NewWriter(c.App.Writer)}, json: findResult{Version: 1, Paths: []foundPath{}, Unlisted: []string{}}}
}

// add tells of what was found, on a terminal at once.
func (o *findOutput) add(f findOutcome) error {
	if f.unlisted {
		o.json.Unlisted = append(o.json.Unlisted, f.StorePath)
		return nil
	}
	o.found += max(1, len(f.Files))
	switch {
	case o.c.Bool("json"):
		o.json.Paths = append(o.json.Paths, f.foundPath)
	case !o.c.IsSet("file"):
		o.m.above(func() { o.out.printf("%s\n", f.StorePath) })
	default:
		o.m.above(func() {
			for _, file := range f.Files {
				o.out.printf("%s/%s\n", f.StorePath, shown(file))
			}
		})
	}
	if isTerminal(o.c.App.Writer) {
		return o.out.flush()
	}
	return nil
}

// end tells the rest.
func (o *findOutput) end() error {
	o.m.end()
	if err := o.out.flush(); err != nil {
		return err
	}
	if n := len(o.json.Unlisted); n > 0 && !o.c.Bool("quiet") {
		say(o.c, "note: %s without a listing, which was not looked into: nixstatic ls reads its NAR", plural(int64(n), "path"))
	}
	if o.c.Bool("json") {
		return printJSON(o.c.App.Writer, o.json)
	}
	return nil
}

// openToFind opens a cache that may be listed.
func openToFind(c *cli.Context, text string) (*looked, error) {
	loc, err := parseLocation(text)
	if err != nil || loc.scheme != onWeb {
		return openToLook(c, text)
	}
	cache, err := openToLook(c, text)
	if err != nil {
		return nil, err
	}
	listed, err := httpcache.OpenWebDAV(c.Context, loc.web, httpOptions(c))
	switch {
	case err == nil:
		cache.openedReader.Close()
		cache.openedReader = listed
	case !errors.Is(err, layout.ErrNotListable):
		cache.Close()
		return nil, err
	}
	return cache, nil
}

// wholeHash returns the hash in a pattern that leads to one path, as it need not be searched
// for; "" for any other pattern.
func wholeHash(pattern string) string {
	base := pattern[strings.LastIndexByte(pattern, '/')+1:]
	hash, _, named := strings.Cut(base, "-")
	if _, err := layout.ParseStorePath(hash + "-x"); err != nil || len(hash) < minHash {
		return ""
	}
	if _, err := layout.ParseStorePath(base); named && err != nil {
		return ""
	}
	return hash
}

// one is paths for the path of one hash.
func (l *looked) one(hash string) func(context.Context, bool, func(hash, name string) bool) iter.Seq2[layout.StorePath, error] {
	return func(ctx context.Context, _ bool, match func(hash, name string) bool) iter.Seq2[layout.StorePath, error] {
		return func(yield func(layout.StorePath, error) bool) {
			n, err := seek.Record(ctx, l, hash, l.storeDir)
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				yield("", err)
			case match(n.Path.Hash(), n.Path.Name()):
				yield(n.Path, nil)
			}
		}
	}
}

// minHash is how much of a hash finds its path: less is rather meant as a name.
const minHash = 8

// namePattern returns what matches store paths.
func namePattern(pattern string) (func(hash, name string) bool, error) {
	pattern = strings.ToLower(pattern)
	if !strings.ContainsAny(pattern, `*?[`) {
		begin, rest, _ := strings.Cut(pattern, "-")
		byHash := len(begin) >= minHash
		return func(hash, name string) bool {
			return strings.Contains(strings.ToLower(name), pattern) ||
				byHash && strings.HasPrefix(hash, begin) && (rest == "" || len(begin) == len(hash) && strings.HasPrefix(strings.ToLower(name), rest))
		}, nil
	}
	pattern = shellGlob(pattern)
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, usage("%s is not a pattern: %v", shown(pattern), err)
	}
	return func(_, name string) bool {
		ok, _ := path.Match(pattern, strings.ToLower(name))
		return ok
	}, nil
}

// shellGlob returns a pattern of a shell in the form of package path: not one of some
// bytes is [!…] there, and [^…] here.
func shellGlob(pattern string) string { return strings.ReplaceAll(pattern, "[!", "[^") }

// literal returns the longest text that one name in whatever matches a glob has in it.
func literal(glob string) (longest string) {
	if end := strings.IndexAny(glob, `[\`); end >= 0 {
		glob = glob[:end]
	}
	for text := range strings.FieldsFuncSeq(glob, func(r rune) bool { return strings.ContainsRune("*?/", r) }) {
		if len(text) > len(longest) {
			longest = text
		}
	}
	return longest
}

// A findOutcome is a path with what was found in it.
type findOutcome struct {
	foundPath
	unlisted bool
	none     bool // no file of it matches
}

// foundIn yields the paths, and if there is a glob, those with files that match.
func foundIn(ctx context.Context, cache *looked, paths iter.Seq2[layout.StorePath, error], glob string) iter.Seq2[findOutcome, error] {
	plain := func(p layout.StorePath) (findOutcome, bool) {
		return findOutcome{foundPath: foundPath{StorePath: p.Abs(cache.storeDir)}}, glob == ""
	}
	part := literal(glob)
	look := func(ctx context.Context, p layout.StorePath) (findOutcome, error) {
		f, _ := plain(p)
		root, err := seek.Listing(ctx, cache.openedReader, p, part)
		var bad *seek.BadListing
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.As(err, &bad):
			f.unlisted = true
			return f, nil
		case err != nil:
			return f, err
		}
		if root != nil {
			f.Files = matchFiles(nil, "", root, glob, strings.Contains(glob, "/"))
		}
		f.none = len(f.Files) == 0
		return f, nil
	}
	return func(yield func(findOutcome, error) bool) {
		for f, err := range parallel.InOrder(ctx, httpcache.OpenConnections, paths, plain, look) {
			if f.none && err == nil {
				continue
			}
			if !yield(f, err) {
				return
			}
		}
	}
}

// matchFiles appends the files and links below a node that match.
func matchFiles(found []string, at string, n *nar.Node, glob string, whole bool) []string {
	for _, name := range slices.Sorted(maps.Keys(n.Entries)) {
		node, full := n.Entries[name], strings.TrimPrefix(at+"/"+name, "/")
		tested := name
		if whole {
			tested = full
		}
		if ok, _ := path.Match(strings.TrimPrefix(glob, "/"), tested); ok && node.Type != nar.TypeDirectory {
			found = append(found, full)
		}
		if node.Type == nar.TypeDirectory {
			found = matchFiles(found, full, node, glob, whole)
		}
	}
	return found
}
