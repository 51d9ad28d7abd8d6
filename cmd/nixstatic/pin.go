package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

func pinCommand() *cli.Command {
	return telling(&cli.Command{
		Name:      "pin",
		Usage:     "keep paths in a cache that is pruned",
		ArgsUsage: "CACHE NAME PATH…",
		Description: "Gives the pin NAME a new generation: these paths, which are in the cache already, and\n" +
			"all that they refer to stay. Older generations stay as well, unless the pin is told\n" +
			"otherwise. The newest is public at pins/NAME, a path on each line:\n" +
			"   nix-store -r $(curl -sf https://cache.example.org/pins/host-a)\n\n" +
			"NAME has letters, digits and ._+-, in parts with slashes between them.\n\n" +
			"Examples:\n" +
			"   nixstatic pin ./cache host-a ./result --keep-last 3\n" +
			"   nixstatic pin ./cache ci/main /nix/store/…-app --keep-within 14d --note \"build 4711\"\n" +
			"   nixstatic pin ./cache demo /nix/store/…-app --until 2030-01-31\n" +
			"   nixstatic pin list ./cache\n" +
			"   nixstatic pin rollback ./cache host-a\n" +
			"   nixstatic pin remove ./cache host-a@2",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "keep-last", Usage: "keep the latest `N` generations, from now on"},
			&cli.StringFlag{Name: "keep-within", Usage: "keep generations for `DURATION` after the next one took their place, from now on"},
			&cli.StringFlag{Name: "until", Usage: "this generation keeps its paths until `DATE`, such as 2030-01-31"},
			&cli.StringFlag{Name: "note", Usage: "remember `TEXT` with it"},
			jsonFlag(), quietFlag(),
		},
		Subcommands: []*cli.Command{{
			Name:        "list",
			Usage:       "show pins and their generations",
			ArgsUsage:   "CACHE [NAME]",
			Description: "Example:\n   nixstatic pin list ./cache",
			Flags:       []cli.Flag{jsonFlag()},
			Action:      runPinList,
		}, telling(&cli.Command{
			Name:        "remove",
			Usage:       "remove a pin, or one of its generations",
			ArgsUsage:   "CACHE NAME[@N]",
			Description: "What nothing else keeps goes in one of the next runs of gc.\n\nExamples:\n   nixstatic pin remove ./cache host-a\n   nixstatic pin remove ./cache host-a@2",
			Action:      runPinRemove,
		}), telling(&cli.Command{
			Name:        "rollback",
			Usage:       "make an older generation the newest",
			ArgsUsage:   "CACHE NAME [N]",
			Description: "Without N it is the one before the newest.\n\nExample:\n   nixstatic pin rollback ./cache host-a",
			Action:      runPinRollback,
		})},
		Action: runPin,
	})
}

func runPin(c *cli.Context) error {
	if c.NArg() < 3 {
		return usage("pin needs the cache, a name, and at least one path")
	}
	location, name := c.Args().Get(0), c.Args().Get(1)
	change := gc.PinChange{Name: name, Note: c.String("note")}
	if err := layout.CheckPinName(name); err != nil {
		return usage("%v", err)
	}
	if c.IsSet("keep-last") {
		n := c.Int("keep-last")
		if n < 1 {
			return usage("--keep-last %d: want 1 at least", n)
		}
		change.Last = &n
	}
	if c.IsSet("keep-within") {
		within, err := parseDuration(c.String("keep-within"))
		if err != nil {
			return usage("--keep-within: %v", err)
		}
		change.Within = &within
	}
	if c.IsSet("until") {
		until, err := parseDate(c.String("until"))
		if err != nil {
			return usage("--until: %v", err)
		}
		change.Until = &until
	}
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	if change.Paths, err = storePathArgs(info.StoreDir, c.Args().Slice()[2:]); err != nil {
		return err
	}
	pin, err := gc.Set(c.Context, tree, change)
	if errors.Is(err, gc.ErrTooManyGenerations) {
		err = withHint(err, "say how many are to stay, as with --keep-last 10, or remove some: nixstatic pin remove %s %s@N", location, name)
	}
	if errors.As(err, new(*gc.MissingPathError)) {
		err = withHint(err, "a pin keeps what is there: push or export the path first")
	}
	if err != nil {
		return err
	}
	refreshPage(c, tree, info.StoreDir, true)
	if c.Bool("json") {
		return printJSON(c.App.Writer, pinResult{pin.Name, pin})
	}
	if !c.Bool("quiet") {
		g := pin.Generations[0]
		say(c, "pin %s@%d keeps %s; %s in all", pin.Name, g.Number, plural(int64(len(g.Paths)), "path"), plural(int64(len(pin.Generations)), "generation"))
	}
	return nil
}

// pinResult is what --json prints of a pin.
type pinResult struct {
	Name string `json:"name"`
	gc.Pin
}

func runPinList(c *cli.Context) error {
	if c.NArg() < 1 || c.NArg() > 2 {
		return usage("pin list takes the cache, and perhaps a name")
	}
	tree, info, err := existingTree(c, c.Args().First())
	if err != nil {
		return err
	}
	defer tree.Close()
	pins, err := gc.ReadPins(c.Context, tree)
	if err != nil {
		return err
	}
	if name := c.Args().Get(1); name != "" {
		pins = slices.DeleteFunc(pins, func(p gc.Pin) bool { return p.Name != name })
		if len(pins) == 0 {
			return fmt.Errorf("%s: %w", name, gc.ErrNoPin)
		}
	}
	if c.Bool("json") {
		results := []pinResult{}
		for _, p := range pins {
			results = append(results, pinResult{p.Name, p})
		}
		return printJSONList(c.App.Writer, "pins", results)
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, p := range pins {
		kept := p.Kept(time.Now())
		for _, g := range kept {
			more := ""
			if n := len(g.Paths) - 1; n > 0 {
				more = fmt.Sprintf(" and %d more", n)
			}
			first := ""
			if len(g.Paths) > 0 {
				first = g.Paths[0].Abs(info.StoreDir)
			}
			until := ""
			if g.Until != nil {
				until = "until " + g.Until.Local().Format(time.DateOnly)
			}
			fmt.Fprintf(t, "%s@%d\t%s\t%s%s\t%s\t%s\n", p.Name, g.Number, g.Time.Local().Format("2006-01-02 15:04"), first, more, until, printable(g.Note))
		}
	}
	return t.Flush()
}

func runPinRemove(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage("pin remove takes the cache, and a name or NAME@N")
	}
	name, number, err := pinAndNumber(c.Args().Get(1))
	if err != nil {
		return err
	}
	tree, info, err := existingTree(c, c.Args().First())
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := gc.RemovePin(c.Context, tree, name, number); err != nil {
		return aboutPin(err, c.Args().First(), c.Args().Get(1))
	}
	purgerOf(c).add(layout.PinKey(name))
	refreshPage(c, tree, info.StoreDir, true)
	return nil
}

func runPinRollback(c *cli.Context) error {
	if c.NArg() < 2 || c.NArg() > 3 {
		return usage("pin rollback takes the cache, a name, and perhaps a number")
	}
	number := 0
	if text := c.Args().Get(2); text != "" {
		var err error
		if number, err = strconv.Atoi(text); err != nil || number < 1 {
			return usage("%s is no number of a generation", text)
		}
	}
	tree, info, err := existingTree(c, c.Args().First())
	if err != nil {
		return err
	}
	defer tree.Close()
	pin, err := gc.Rollback(c.Context, tree, c.Args().Get(1), number)
	if err != nil {
		return aboutPin(err, c.Args().First(), c.Args().Get(1))
	}
	refreshPage(c, tree, info.StoreDir, true)
	say(c, "pin %s@%d: %s", pin.Name, pin.Generations[0].Number, pin.Generations[0].Note)
	return nil
}

func aboutPin(err error, location, name string) error {
	if errors.Is(err, gc.ErrNoPin) {
		return withHint(fmt.Errorf("%s: %w", name, err), "nixstatic pin list %s shows what there is", location)
	}
	return err
}

func pinAndNumber(text string) (name string, number int, err error) {
	name, digits, ok := strings.Cut(text, "@")
	if ok {
		if number, err = strconv.Atoi(digits); err != nil || number < 1 {
			return "", 0, usage("%s: want NAME or NAME@N", text)
		}
	}
	if err := layout.CheckPinName(name); err != nil {
		return "", 0, usage("%v", err)
	}
	return name, number, nil
}

// parseDate reads a day, which is over at its end, or a moment.
func parseDate(text string) (time.Time, error) {
	if t, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return t.AddDate(0, 0, 1), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is no date such as 2030-01-31 or 2030-01-31T12:00:00Z", text)
	}
	return t, nil
}

// storePathArgs reads store paths as people type them.
func storePathArgs(storeDir string, args []string) ([]layout.StorePath, error) {
	var paths []layout.StorePath
	for _, arg := range args {
		p, err := storePathArg(storeDir, arg)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(paths, p) {
			paths = append(paths, p)
		}
	}
	return paths, nil
}

// storePathArg reads a store path, something in one, its base name, or a symbolic
// link to one, such as ./result.
func storePathArg(storeDir, arg string) (layout.StorePath, error) {
	if p, err := layout.ParseStorePath(arg); err == nil {
		return p, nil
	}
	rest, err := nixstore.Follow(arg, storeDir)
	base, _, _ := strings.Cut(rest, "/")
	p, notPath := layout.ParseStorePath(base)
	if err != nil || notPath != nil {
		err := usage("%s is no store path in %s, nor a link to one", arg, storeDir)
		if build := buildHint(arg); build != "" {
			return "", withHint(err, "%s", build)
		}
		return "", err
	}
	return p, nil
}
