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
	r := &pruneRun{c: c, tree: tree, options: o, meter: pruneMeter(c, o.Progress),
		result: gcResult{Version: 1, Tree: location, DryRun: c.Bool("dry-run")}}
	defer r.meter.end()
	r.storeDir = info.StoreDir
	if r.result.DryRun {
		err = r.preview()
	} else {
		err = r.collect()
	}
	return aboutGC(err, location)
}

// pruneMeter shows what a run looks at, and what it removes once it does.
func pruneMeter(c *cli.Context, p *gc.Progress) *meter {
	return startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		if gone := p.Withdrawn.Load() + p.Reclaimed.Load(); gone > 0 {
			return fmt.Sprintf("gc: %s withdrawn, %s removed", plural(p.Withdrawn.Load(), "path"), plural(p.Reclaimed.Load(), "object"))
		}
		return fmt.Sprintf("gc: %d of %s looked at", p.Read.Load(), plural(p.Listed.Load(), "path"))
	})
}

// A pruneRun is one run of gc, as its operator sees it.
type pruneRun struct {
	c        *cli.Context
	tree     openedTree
	storeDir string
	options  gc.Options
	meter    *meter
	result   gcResult
}

// show prints a plan, or keeps it for --json.
func (r *pruneRun) show(p *gc.Plan) {
	r.result.Plan = *p
	if !r.c.Bool("json") {
		r.meter.above(func() { printGCPlan(r.c.App.Writer, p, r.storeDir, r.options) })
	}
}

// over is the error of a tree that is larger than its policy allows.
func (r *pruneRun) over() error {
	if r.result.Over == nil {
		return nil
	}
	return r.result.Over
}

// preview shows the plan and changes nothing. A plan that would be refused is an error.
func (r *pruneRun) preview() error {
	plan, err := gc.Preview(r.c.Context, r.tree, r.options)
	if err != nil {
		return err
	}
	r.show(plan)
	if err = plan.Refused; err == nil {
		err = r.over()
	}
	r.meter.end()
	if r.c.Bool("json") {
		err = errors.Join(printJSON(r.c.App.Writer, r.result), err)
	}
	return err
}

// collect shows the plan and does what it says.
func (r *pruneRun) collect() error {
	purge, err := readPurger(r.c)
	if err != nil {
		return err
	}
	done, err := gc.Collect(r.c.Context, r.tree, purge.purging(r.options), r.agree)
	r.meter.end()
	// Objects that went before a failure have gone.
	if failed := purge.run(r.c.Context); err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	if limit, p := r.options.Policy.MaxSize, r.options.Policy; limit > 0 && p.Warn > 0 && r.result.Over == nil && r.result.Live.Bytes > limit/100*int64(p.Warn) {
		say(r.c, "warning: %s stay, %d%% of max-size", bytesize(r.result.Live.Bytes), 100*r.result.Live.Bytes/limit)
	}
	if done.Epoch > 0 {
		refreshPage(r.c, r.tree, r.storeDir, false)
	}
	if r.c.Bool("json") {
		if done.Epoch > 0 || done.Condemned > 0 || done.Unfinished > 0 {
			r.result.Done = &done
		}
		return errors.Join(printJSON(r.c.App.Writer, r.result), r.over())
	}
	if !r.c.Bool("quiet") {
		sayDone(r.c, done)
	}
	return r.over()
}

// agree shows the plan, and asks the person at a terminal.
func (r *pruneRun) agree(p *gc.Plan) error {
	r.show(p)
	if p.Refused != nil || p.Withdraw.Count+p.Reclaim.Count+int64(p.Unfinished) == 0 {
		return nil
	}
	if r.c.Bool("yes") || !isTerminal(r.c.App.ErrWriter) || !isTerminalIn(r.c.App.Reader) {
		return nil
	}
	r.meter.end()
	if !agreed(r.c) {
		return errDeclined
	}
	return nil
}

// sayDone tells what a run did.
func sayDone(c *cli.Context, done gc.Run) {
	if done.Epoch == 0 {
		switch {
		case done.Unfinished > 0:
			say(c, "%s in parts removed that had broken off", plural(int64(done.Unfinished), "upload"))
		case done.Ripe.IsZero():
			say(c, "nothing to remove")
		}
		sayRipe(c, done)
		return
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
