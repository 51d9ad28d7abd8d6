package main

import (
	"fmt"
	"runtime/debug"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/gc"
)

func duCommand() *cli.Command {
	return &cli.Command{
		Name:      "du",
		Usage:     "tell what takes the room in a cache",
		ArgsUsage: "CACHE [ROOT…]",
		Description: "A line for each root: how many paths its closure has, their bytes, each file counted\n" +
			"once, and what only this root keeps, which is what its removal would set free; when\n" +
			"something of it came last, and when something of it was read last. Then the bytes by\n" +
			"kind of file, and by the month in which paths came. ROOT is the name of a pin or a\n" +
			"root, with or without @ and its generation; * stands for any characters.\n\n" +
			"When a path was read last is known of reads that serve saw and of logs that uses import\n" +
			"read, and a Nix asks for a narinfo once in 30 days at most: see gc policy, keep used.\n\n" +
			"Examples:\n" +
			"   nixstatic du ./cache\n" +
			"   nixstatic du ./cache host-a 'acme/*'\n" +
			"   nixstatic du ./cache --json | jq '.roots[] | select(.keepsOnly.bytes > 1e9) | .name'",
		Flags:  []cli.Flag{keepYoungFlag(), jobsFlag("narinfos"), jsonFlag(), quietFlag()},
		Action: runDu,
	}
}

// duResult is what du --json prints.
type duResult struct {
	Version int    `json:"version"`
	Tree    string `json:"tree"`
	*gc.Usage
}

// pruneMemory is where garbage is collected as often as needed: the facts of a million
// paths take 200 MB.
const pruneMemory = 256 << 20

// lookMeter shows how much of a tree a command has looked at.
func lookMeter(c *cli.Context, command string, p *gc.Progress) *meter {
	return startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("%s: %d of %s looked at", command, p.Read.Load(), plural(p.Listed.Load(), "path"))
	})
}

func runDu(c *cli.Context) error {
	if c.NArg() < 1 {
		return usage("du needs the cache")
	}
	location := c.Args().First()
	o, err := keepOptions(c)
	if err != nil {
		return err
	}
	tree, _, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	if o, err = underPolicy(c.Context, c, tree, o); err != nil {
		return err
	}
	debug.SetMemoryLimit(pruneMemory)
	o.Jobs, o.Progress, o.Memory = c.Int("jobs"), &gc.Progress{}, cacheFile("gc", treeName(tree, location))
	m := lookMeter(c, "du", o.Progress)
	used, err := gc.Measure(c.Context, tree, o)
	m.end()
	if err != nil {
		return aboutGC(err, location)
	}
	for _, word := range c.Args().Tail() {
		if !slices.ContainsFunc(used.Roots, func(r gc.Root) bool { return r.Named(word) }) {
			return withHint(fmt.Errorf("nothing in the cache is kept by a root of the name %s", word), "nixstatic du %s shows all roots", location)
		}
	}
	if words := c.Args().Tail(); len(words) > 0 {
		used.Roots = slices.DeleteFunc(used.Roots, func(r gc.Root) bool {
			return !slices.ContainsFunc(words, func(word string) bool { return r.Named(word) })
		})
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, duResult{1, location, used})
	}
	printRoots(c.App.Writer, used.Roots, len(used.Roots))
	if c.NArg() > 1 {
		return nil
	}
	fmt.Fprintln(c.App.Writer)
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, s := range used.Kinds {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, plural(s.Count, "file"), bytesize(s.Bytes))
	}
	t.Flush()
	fmt.Fprintln(c.App.Writer)
	t = tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, s := range used.Months {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, plural(s.Count, "path"), bytesize(s.Bytes))
	}
	t.Flush()
	fmt.Fprintf(c.App.Writer, "\nin all: %s", counted(used.Total, "path"))
	if used.ForUndo > 0 {
		fmt.Fprintf(c.App.Writer, ", of that %s only for gc undo", bytesize(used.ForUndo))
	}
	fmt.Fprintln(c.App.Writer)
	return nil
}
