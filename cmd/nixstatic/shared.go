package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/pages"
)

// Flags that several commands take.
func toFlag() cli.Flag {
	return &cli.StringFlag{Name: "to", Aliases: []string{"t"}, EnvVars: []string{"NIXSTATIC_TO"},
		Usage: "write into `CACHE`, a directory, made if it is not there, or s3://…"}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print the result as JSON on standard output"}
}

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress"}
}

func verboseFlag() cli.Flag {
	return &cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "tell of each path when work on it begins"}
}

func jobsFlag(what string) cli.Flag {
	return &cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "`N` " + what + " at the same time (0: fitting the processors)",
		Action: func(c *cli.Context, n int) error {
			if n < 0 {
				// This runs before the command, which would add its name.
				return &usageError{fmt.Sprintf("--jobs %d: want 1 or more, or 0 for what fits the processors", n), fullName(c.Command)}
			}
			return nil
		}}
}

func writeFlags() []cli.Flag {
	return []cli.Flag{
		keyFlag(),
		&cli.StringFlag{Name: "compression", Aliases: []string{"c"}, Value: "zstd", Usage: "`METHOD`: " + methodNames()},
		&cli.IntFlag{Name: "level", Usage: "compression level `N` (0: the method's default)"},
	}
}

func methodNames() string {
	var names []string
	for _, m := range compress.Writable() {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// need refuses a command line without one of the flags. The library's own check
// prints help on standard output instead, and calls it no mistake of usage.
func need(c *cli.Context, flags ...string) error {
	for _, name := range flags {
		if !c.IsSet(name) {
			return usage("%s needs --%s", c.Command.Name, name)
		}
	}
	return nil
}

// existingTree opens a tree that must be one already.
func existingTree(c *cli.Context, location string) (openedTree, layout.CacheInfo, error) {
	tree, err := openTree(c, location, changeTree)
	if err != nil {
		return nil, layout.CacheInfo{}, err
	}
	return existing(c, tree, location)
}

// existing tells what a tree is for, which it closes if it is none.
func existing(c *cli.Context, tree openedTree, location string) (openedTree, layout.CacheInfo, error) {
	info, err := layout.ReadCacheInfo(c.Context, tree)
	if errors.Is(err, fs.ErrNotExist) {
		err = noCache(c, location)
	}
	if err != nil {
		tree.Close()
		return nil, info, err
	}
	return tree, info, nil
}

// noCache says that there is no cache where one should be.
func noCache(c *cli.Context, location string) error {
	location = withoutUser(location)
	err := fmt.Errorf("%s is not a binary cache: it has no %s", location, layout.CacheInfoKey)
	if near := nearestCommand(c.Command, location); near != "" {
		return withHint(err, "did you mean %s?", near)
	}
	if hostName.MatchString(location) {
		return withHint(err, "did you mean https://%s? A word without :// is a directory", location)
	}
	if entries, readErr := os.ReadDir(location); readErr == nil && len(entries) > 0 {
		// To make a cache among other things is not likely meant.
		return withHint(err, "check the path: other things are there")
	}
	return withHint(err, "check the path; nixstatic init %s makes an empty cache there, and export and add make one in an empty folder", quoted(location))
}

// oneTree returns the only argument of a command that works on a tree.
func oneTree(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", usage("%s takes one argument, the cache", strings.TrimPrefix(c.Command.HelpName, "nixstatic "))
	}
	return c.Args().First(), nil
}

// newWriter makes a Writer from the flags of writeFlags. It writes nothing: the
// tree is made by layout.Init once it is clear that there is something for it.
func newWriter(c *cli.Context, tree layout.Tree, storeDir string) (*layout.Writer, error) {
	method, err := readMethod(c)
	if err != nil {
		return nil, err
	}
	if method == compress.Xz {
		if note := compress.XzNote(); note != "" {
			say(c, "note: %s", note)
		}
	}
	keys, err := loadKeys(c)
	if err != nil {
		return nil, err
	}
	if err := takes(c, tree, storeDir); err != nil {
		return nil, err
	}
	return &layout.Writer{Tree: tree, StoreDir: storeDir, Keys: keys, Method: method, Level: c.Int("level"),
		DebugInfo: c.Bool("debug-info")}, nil
}

// readMethod reads --compression and --level.
func readMethod(c *cli.Context) (compress.Method, error) {
	method, err := compress.Parse(c.String("compression"))
	if err != nil || !method.Writable() || c.String("compression") == "" {
		return method, usage("--compression %s: choose one of %s", c.String("compression"), methodNames())
	}
	if err := method.CheckLevel(c.Int("level")); err != nil {
		return method, usage("--level: %v", err)
	}
	return method, nil
}

// Newer versions of Nix do not take this name, though older ones do, and the store
// has it.
var (
	deepLevels = fmt.Sprintf("%d levels of directories", nar.CommonDepth)
	deepNote   = "Nix 2.34 and newer refuse them, older ones do not"
)

// jsonVersion is the version of what --json prints: it changes when a field is
// removed or means something else.
const jsonVersion = 1

// printJSON writes an object for a script, with a field "version".
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	text := b.Bytes()
	if rest, isObject := bytes.CutPrefix(text, []byte("{")); isObject && !bytes.HasPrefix(text, []byte("{\n  \"version\": ")) {
		comma := ","
		if bytes.HasPrefix(rest, []byte("}")) {
			comma = "\n"
		}
		text = fmt.Appendf(nil, "{\n  \"version\": %d%s%s", jsonVersion, comma, rest)
	}
	_, err := w.Write(text)
	return err
}

// printJSONList writes a list for a script, as the field of an object, which has
// room for a version.
func printJSONList(w io.Writer, name string, list any) error {
	return printJSON(w, map[string]any{name: list})
}

// bytesize words a number of bytes.
func bytesize(n int64) string { return pages.Bytes(n) }

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func isTerminalIn(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && termIsTerminal(int(f.Fd()))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && termIsTerminal(int(f.Fd()))
}
