package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

const gcTimes = "DURATION is such as 30d, 2w or 12h."

func gcCommand() *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "remove what nothing keeps from a tree",
		ArgsUsage: "TREE",
		Description: "A path stays if a pin leads to it (nixstatic pin), or if it was pushed lately\n" +
			"(--keep-young). Of the rest a run tells what goes, and withdraws it: clients do not\n" +
			"find it any more. For a while it can be brought back (gc undo), then its bytes go.\n" +
			"Nothing goes in the run that first finds it dead, see --grace: run it from a timer.\n\n" +
			"Others may push, export and read meanwhile. What cannot be read stops a run before\n" +
			"it removes anything. " + gcTimes + "\n\n" +
			"Examples:\n" +
			"   nixstatic pin ./cache host-a ./result\n" +
			"   nixstatic gc -n ./cache\n" +
			"   nixstatic gc ./cache\n" +
			"   nixstatic gc ./cache --keep-young 7d --undo 2d --grace 0\n" +
			"   nixstatic gc why ./cache /nix/store/…-hello-2.12\n" +
			"   nixstatic gc undo ./cache",
		Flags: append(append([]cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "tell what would go, and change nothing"},
		}, keepFlags()...),
			&cli.BoolFlag{Name: "no-pins", Usage: "the tree has no pins and is meant to: only what is young stays"},
			&cli.BoolFlag{Name: "open", Usage: "the tree was a mirror (sync --delete), and is not one any more"},
			&cli.BoolFlag{Name: "no-reclaim", Usage: "withdraw paths, and leave all bytes where they are"},
			&cli.BoolFlag{Name: "reclaim-only", Usage: "remove the bytes that are due, and withdraw nothing"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask, on a terminal, before anything goes"},
			jsonFlag(), quietFlag()),
		Subcommands: []*cli.Command{{
			Name:      "why",
			Usage:     "tell what keeps a path",
			ArgsUsage: "TREE PATH",
			Description: "Prints each root that keeps the path, and how it leads there. The exit code is 3 if\n" +
				"nothing keeps it.\n\n" +
				"Example:\n" +
				"   nixstatic gc why ./cache /nix/store/…-openssl-3.0.14",
			Flags:  []cli.Flag{keepYoungFlag(), jsonFlag()},
			Action: runGCWhy,
		}, {
			Name:      "undo",
			Usage:     "bring back what was withdrawn",
			ArgsUsage: "TREE [RUN | PATH…]",
			Description: "Brings back what the last run withdrew, or another one (gc runs numbers them), or\n" +
				"the paths that are named; each with all that it refers to. What comes back is as\n" +
				"young as if it had been pushed now. Pin what is to stay for longer.\n\n" +
				"Examples:\n" +
				"   nixstatic gc undo ./cache\n" +
				"   nixstatic gc undo ./cache 12\n" +
				"   nixstatic gc undo ./cache /nix/store/…-hello-2.12",
			Flags:  []cli.Flag{jsonFlag(), quietFlag()},
			Action: runGCUndo,
		}, {
			Name:        "runs",
			Usage:       "list the runs that removed something",
			ArgsUsage:   "TREE",
			Description: "The latest comes first.\n\nExample:\n   nixstatic gc runs ./cache",
			Flags:       []cli.Flag{jsonFlag()},
			Action:      runGCRuns,
		}},
		Action: runGC,
	}
}

func keepYoungFlag() cli.Flag {
	return &cli.StringFlag{Name: "keep-young", Value: "30d", Usage: "what was pushed within `DURATION` stays"}
}

// keepFlags say what a run keeps and how much it may remove.
func keepFlags() []cli.Flag {
	return []cli.Flag{
		keepYoungFlag(),
		&cli.StringFlag{Name: "undo", Value: "7d", Usage: "what is withdrawn can be brought back for `DURATION`"},
		&cli.StringFlag{Name: "grace", Value: "24h", Usage: "what is dead goes only `DURATION` later, in another run"},
		&cli.StringFlag{Name: "max-removal", Value: "50%", Usage: "stop if more than `PERCENT` of the bytes would go"},
	}
}

// keepOptions reads keepFlags.
func keepOptions(c *cli.Context) (o gc.Options, err error) {
	for name, to := range map[string]*time.Duration{"keep-young": &o.KeepYoung, "undo": &o.Undo, "grace": &o.Grace} {
		text := c.String(name)
		if text == "" || text == "0" {
			continue
		}
		if *to, err = parseDuration(text); err != nil {
			return o, usage("--%s: %v", name, err)
		}
	}
	if text := c.String("max-removal"); text != "" {
		number, ok := strings.CutSuffix(text, "%")
		percent, err := strconv.ParseFloat(number, 64)
		if err != nil || !ok || !(percent > 0 && percent <= 100) {
			return o, usage("--max-removal %s: want a percentage such as 50%%", text)
		}
		o.MaxRemoval = percent / 100
	}
	return o, nil
}

// errDeclined ends a run that an operator was shown and did not want.
var errDeclined = errors.New("nothing was removed")

// gcResult is what gc --json prints.
type gcResult struct {
	Tree   string `json:"tree"`
	DryRun bool   `json:"dryRun"`
	gc.Plan
	Done *gc.Run `json:"done,omitempty"`
}

func runGC(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	o, err := keepOptions(c)
	if err != nil {
		return err
	}
	o.NoPins, o.NoReclaim, o.ReclaimOnly, o.NameAll = c.Bool("no-pins"), c.Bool("no-reclaim"), c.Bool("reclaim-only"), c.Bool("json")
	if o.NoReclaim && o.ReclaimOnly {
		return usage("--no-reclaim and --reclaim-only exclude each other")
	}
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	if c.Bool("open") && !c.Bool("dry-run") {
		if err := gc.Open(c.Context, tree); err != nil {
			return err
		}
	}
	o.Progress = &gc.Progress{}
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		if gone := o.Progress.Withdrawn.Load() + o.Progress.Reclaimed.Load(); gone > 0 {
			return fmt.Sprintf("gc: %s withdrawn, %s removed", plural(o.Progress.Withdrawn.Load(), "path"), plural(o.Progress.Reclaimed.Load(), "object"))
		}
		return fmt.Sprintf("gc: %d of %s looked at", o.Progress.Read.Load(), plural(o.Progress.Listed.Load(), "path"))
	})
	defer m.end()
	r := gcResult{Tree: location, DryRun: c.Bool("dry-run")}
	show := func(p *gc.Plan) error {
		r.Plan = *p
		if !c.Bool("json") {
			m.above(func() { printGCPlan(c.App.Writer, p, info.StoreDir, o) })
		}
		return nil
	}
	if r.DryRun {
		plan, err := gc.Preview(c.Context, tree, o)
		if err != nil {
			return aboutGC(err, location)
		}
		show(plan)
		err = plan.Refused
		m.end()
		if c.Bool("json") {
			err = errors.Join(printJSON(c.App.Writer, r), err)
		}
		return aboutGC(err, location)
	}
	done, err := gc.Collect(c.Context, tree, o, func(p *gc.Plan) error {
		show(p)
		if p.Refused == nil && p.Withdraw.Count+p.Reclaim.Count > 0 && !c.Bool("yes") && isTerminal(c.App.ErrWriter) && isTerminalIn(c.App.Reader) {
			m.end()
			if !agreed(c) {
				return errDeclined
			}
		}
		return nil
	})
	m.end()
	if err != nil {
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		if done.Epoch > 0 {
			r.Done = &done
		}
		return printJSON(c.App.Writer, r)
	}
	if c.Bool("quiet") {
		return nil
	}
	if done.Epoch == 0 {
		say(c, "nothing to remove")
		return nil
	}
	text := fmt.Sprintf("run %d: %s withdrawn, %s removed (%s)", done.Epoch, plural(done.Withdrawn.Count, "path"),
		plural(done.Reclaimed.Count, "object"), bytesize(done.Reclaimed.Bytes))
	if done.Kept > 0 {
		text += fmt.Sprintf("; %s stayed that something needs by now", plural(done.Kept, "path"))
	}
	say(c, "%s", text)
	return nil
}

// agreed asks a person.
func agreed(c *cli.Context) bool {
	fmt.Fprint(c.App.ErrWriter, "nixstatic: remove that? [y/N] ")
	var answer string
	fmt.Fscanln(c.App.Reader, &answer)
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes")
}

func counted(s gc.Size, noun string) string {
	return plural(s.Count, noun) + ", " + bytesize(s.Bytes)
}

// printGCPlan words a plan: what keeps what, and what goes.
func printGCPlan(w io.Writer, p *gc.Plan, storeDir string, o gc.Options) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range p.Roots {
		fmt.Fprintf(t, "%s\tkeeps %s\tonly it keeps %s\n", r.Name, counted(r.All, "path"), counted(r.Only, "path"))
	}
	t.Flush()
	if p.Withdraw.Count > 0 {
		undo := "and cannot be undone"
		if o.Undo > 0 {
			undo = "and can be undone until " + p.Undo.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(w, "goes: %s, %s\n", counted(p.Withdraw, "path"), undo)
		for _, going := range p.Largest {
			fmt.Fprintf(w, "   %s  %s\n", going.Path.Abs(storeDir), bytesize(going.Bytes))
		}
		if more := p.Withdraw.Count - int64(len(p.Largest)); more > 0 {
			fmt.Fprintf(w, "   and %d more, see --json\n", more)
		}
	}
	if p.Reclaim.Count > 0 {
		fmt.Fprintf(w, "goes for good: %s that nothing leads to\n", counted(p.Reclaim, "object"))
	}
	if p.Waiting.Count > 0 {
		text := "dead, and not gone in this run: " + counted(p.Waiting, "object")
		if !p.Due.IsZero() {
			text += ", the first of it from " + p.Due.Local().Format("2006-01-02 15:04") + " on"
		}
		fmt.Fprintln(w, text)
	}
	fmt.Fprintf(w, "before: %s; after: %s\n", counted(p.Before, "path"), counted(p.After, "path"))
}

func runGCWhy(c *cli.Context) error {
	if c.NArg() != 2 {
		return usage("gc why takes two arguments, the tree and a path")
	}
	o, err := keepOptions(c)
	if err != nil {
		return err
	}
	location := c.Args().First()
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	path, err := storePathArg(info.StoreDir, c.Args().Get(1))
	if err != nil {
		return err
	}
	chains, err := gc.Why(c.Context, tree, o, path)
	if errors.As(err, new(*gc.MissingPathError)) {
		if recorded := gc.Recorded(c.Context, tree, path); recorded != nil {
			err = recorded
		}
	}
	if err != nil {
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		if chains == nil {
			chains = []gc.Chain{}
		}
		err = printJSON(c.App.Writer, chains)
	} else {
		for _, chain := range chains {
			fmt.Fprintln(c.App.Writer, chain.Root)
			for n, p := range chain.Paths {
				fmt.Fprintf(c.App.Writer, "%s%s\n", strings.Repeat("   ", n+1), p.Abs(info.StoreDir))
			}
		}
	}
	if err == nil && len(chains) == 0 {
		say(c, "nothing keeps %s", path.Abs(info.StoreDir))
		return errProblems
	}
	return err
}

func runGCUndo(c *cli.Context) error {
	if c.NArg() < 1 {
		return usage("gc undo needs the tree")
	}
	location := c.Args().First()
	tree, info, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	epoch := int64(0)
	var paths []layout.StorePath
	rest := c.Args().Tail()
	if n, err := strconv.ParseInt(strings.Join(rest, " "), 10, 64); err == nil && n > 0 {
		epoch = n
	} else if paths, err = storePathArgs(info.StoreDir, rest); err != nil {
		return err
	}
	done, err := gc.Undo(c.Context, tree, epoch, paths)
	if err != nil {
		return aboutGC(err, location)
	}
	if c.Bool("json") {
		lost := map[string]string{}
		for p, why := range done.Lost {
			lost[p.Abs(info.StoreDir)] = why.Error()
		}
		back := []string{}
		for _, p := range done.Back {
			back = append(back, p.Abs(info.StoreDir))
		}
		err = printJSON(c.App.Writer, map[string]any{"back": back, "there": done.There, "lost": lost})
	} else {
		for _, p := range done.Back {
			fmt.Fprintln(c.App.Writer, p.Abs(info.StoreDir))
		}
	}
	if err != nil {
		return err
	}
	if !c.Bool("quiet") {
		say(c, "%s came back; %d were there", plural(int64(len(done.Back)), "path"), done.There)
	}
	var errs []error
	for p, why := range done.Lost {
		errs = append(errs, fmt.Errorf("%s: %w", p.Abs(info.StoreDir), why))
	}
	return withHint(errors.Join(errs...), "push or export these paths again: what is gone for good comes from its source alone")
}

func runGCRuns(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	tree, _, err := existingTree(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	runs, err := gc.Runs(c.Context, tree)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		if runs == nil {
			runs = []gc.Run{}
		}
		return printJSON(c.App.Writer, runs)
	}
	t := tabwriter.NewWriter(c.App.Writer, 0, 0, 2, ' ', 0)
	for _, r := range runs {
		undo := ""
		if r.Withdrawn.Count > 0 && r.UndoUntil.After(time.Now()) {
			undo = "can be undone until " + r.UndoUntil.Local().Format("2006-01-02 15:04")
		}
		fmt.Fprintf(t, "%d\t%s\t%s withdrawn\t%s removed\t%s\n", r.Epoch, r.Time.Local().Format("2006-01-02 15:04"),
			plural(r.Withdrawn.Count, "path"), counted(r.Reclaimed, "object"), undo)
	}
	return t.Flush()
}

// aboutGC tells what to do about an error of pruning.
func aboutGC(err error, location string) error {
	switch {
	case err == nil, errors.Is(err, errDeclined):
		return err
	case errors.Is(err, gc.ErrNoRoots):
		return withHint(err, "pin what is to stay (nixstatic pin %s NAME PATH…), or say with --no-pins that only what is young is to; nothing was removed", location)
	case errors.As(err, new(*gc.TooMuchError)):
		return withHint(err, "look at the plan (nixstatic gc -n %s) and at the pins (nixstatic pin list %s), and allow more with --max-removal; nothing was removed", location, location)
	case errors.As(err, new(*gc.RootError)):
		return withHint(err, "push or export the path again, or remove that generation of the pin: nixstatic pin remove %s NAME@N; nothing was removed", location)
	case errors.As(err, new(*gc.ClockError)):
		return withHint(err, "set the clocks of this machine and of those that write to the tree: the age of a path decides whether it goes")
	case errors.As(err, new(*gc.RecordedError)):
		return withHint(err, "nixstatic gc undo %s PATH brings it back", location)
	case errors.As(err, new(*gc.MissingPathError)):
		return withHint(err, "check the path; nixstatic gc runs %s lists what was removed", location)
	case errors.Is(err, gc.ErrNothingWithdrawn):
		return withHint(err, "nixstatic gc runs %s tells which runs can be undone", location)
	case errors.Is(err, gc.ErrClosed):
		return withHint(err, "prune the tree that it is a copy of; or, if no sync --delete runs to this one any more, say --open")
	case errors.Is(err, layout.ErrNoGate):
		return withHint(err, "prune a directory, and mirror it to the bucket: nixstatic sync DIRECTORY '%s' --delete", location)
	}
	return err
}
