package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout/gc"
)

// errDeclined ends a run that an operator was shown and did not want.
var errDeclined = errors.New("nothing was removed")

// gcResult is what gc --json prints.
type gcResult struct {
	Version int    `json:"version"`
	Tree    string `json:"tree"`
	DryRun  bool   `json:"dryRun"`
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
	tree, info, err := openPruned(c, location)
	if err != nil {
		return err
	}
	defer tree.Close()
	if c.Bool("open") && !c.Bool("dry-run") {
		if err := gc.Open(c.Context, tree); err != nil {
			return err
		}
	}
	if o, err = underPolicy(c.Context, c, tree, o); err != nil {
		return err
	}
	debug.SetMemoryLimit(pruneMemory)
	debug.SetGCPercent(400) // below that
	o.Progress, o.Memory = &gc.Progress{}, cacheFile("gc", treeName(tree, location))
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		if gone := o.Progress.Withdrawn.Load() + o.Progress.Reclaimed.Load(); gone > 0 {
			return fmt.Sprintf("gc: %s withdrawn, %s removed", plural(o.Progress.Withdrawn.Load(), "path"), plural(o.Progress.Reclaimed.Load(), "object"))
		}
		return fmt.Sprintf("gc: %d of %s looked at", o.Progress.Read.Load(), plural(o.Progress.Listed.Load(), "path"))
	})
	defer m.end()
	r := gcResult{Version: 1, Tree: location, DryRun: c.Bool("dry-run")}
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
		if err = plan.Refused; err == nil && plan.Over != nil {
			err = plan.Over
		}
		m.end()
		if c.Bool("json") {
			err = errors.Join(printJSON(c.App.Writer, r), err)
		}
		return aboutGC(err, location)
	}
	purge, err := readPurger(c)
	if err != nil {
		return err
	}
	done, err := gc.Collect(c.Context, tree, purge.purging(o), func(p *gc.Plan) error {
		show(p)
		if p.Refused == nil && p.Withdraw.Count+p.Reclaim.Count+int64(p.Unfinished) > 0 && !c.Bool("yes") && isTerminal(c.App.ErrWriter) && isTerminalIn(c.App.Reader) {
			m.end()
			if !agreed(c) {
				return errDeclined
			}
		}
		return nil
	})
	m.end()
	// Objects that went before a failure have gone.
	if failed := purge.run(c.Context); err == nil {
		err = failed
	}
	if err != nil {
		return aboutGC(err, location)
	}
	if limit := o.Policy.MaxSize; limit > 0 && o.Policy.Warn > 0 && r.Over == nil && r.Live.Bytes > limit/100*int64(o.Policy.Warn) {
		say(c, "warning: %s stay, %d%% of max-size", bytesize(r.Live.Bytes), 100*r.Live.Bytes/limit)
	}
	var over error
	if r.Over != nil {
		over = aboutGC(r.Over, location)
	}
	if done.Epoch > 0 {
		refreshPage(c, tree, info.StoreDir, false)
	}
	if c.Bool("json") {
		if done.Epoch > 0 || done.Condemned > 0 || done.Unfinished > 0 {
			r.Done = &done
		}
		return errors.Join(printJSON(c.App.Writer, r), over)
	}
	if c.Bool("quiet") {
		return over
	}
	if done.Epoch == 0 {
		switch {
		case done.Unfinished > 0:
			say(c, "%s in parts removed that had broken off", plural(int64(done.Unfinished), "upload"))
		case done.Ripe.IsZero():
			say(c, "nothing to remove")
		}
		sayRipe(c, done)
		return over
	}
	text := fmt.Sprintf("run %d: %s withdrawn, %s removed (%s)", done.Epoch, plural(done.Withdrawn.Count, "path"),
		plural(done.Reclaimed.Count, "object"), bytesize(done.Reclaimed.Bytes))
	if done.Unfinished > 0 {
		text += fmt.Sprintf("; %s in parts that had broken off", plural(int64(done.Unfinished), "upload"))
	}
	if done.Kept > 0 {
		text += fmt.Sprintf("; %s stayed that something needs by now", plural(done.Kept, "path"))
	}
	say(c, "%s", text)
	sayRipe(c, done)
	return over
}

// sayRipe tells when the next run can remove something from a bucket.
func sayRipe(c *cli.Context, done gc.Run) {
	when := done.Ripe.Local().Format("2006-01-02 15:04")
	switch {
	case done.Condemned > 0:
		say(c, "%s condemned: what is dead still when gc runs after %s goes then", plural(done.Condemned, "object"), when)
	case done.Ripe.After(time.Now()):
		say(c, "nothing to remove before %s: writers that did not know may still be at work", when)
	case !done.Ripe.IsZero():
		say(c, "nothing to remove: what is condemned is not dead for long enough, see --grace")
	}
}

// agreed asks a person.
func agreed(c *cli.Context) bool {
	fmt.Fprint(c.App.ErrWriter, "nixstatic: remove that? [y/N] ")
	var answer string
	fmt.Fscanln(c.App.Reader, &answer)
	return strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes")
}
