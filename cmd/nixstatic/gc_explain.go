package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// explainPolicy says in a paragraph what the policy of a tree does to it.
func explainPolicy(c *cli.Context, tree layout.Tree, location string) error {
	policy, _, err := gc.ReadPolicy(c.Context, tree)
	if err != nil {
		return aboutPolicy(err)
	}
	now := time.Now()
	o := gc.Options{Policy: &policy, KeepYoung: policy.Young.Until(now), Undo: policy.Undo.Until(now), MaxRemoval: 1, NoPins: true}
	plan, err := gc.Preview(c.Context, tree, o)
	if err != nil {
		return aboutGC(err, location)
	}
	fmt.Fprintln(c.App.Writer, strings.Join(explain(&policy, plan), " "))
	return nil
}

// explain returns sentences.
func explain(p *gc.Policy, plan *gc.Plan) (text []string) {
	say := func(format string, args ...any) { text = append(text, fmt.Sprintf(format, args...)) }
	pins := 0
	var young, used gc.Size
	for _, r := range plan.Roots {
		switch r.Kind {
		case "pin":
			pins++
		case "young":
			young = r.All
		case "used":
			used = r.All
		}
	}
	switch {
	case !p.Pins:
		say("Pins keep nothing: there is no rule \"keep pins\".")
	case pins == 0:
		say("What is pinned stays, and nothing is pinned.")
	default:
		say("What is pinned stays: %s.", plural(int64(pins), "generation"))
	}
	for _, r := range p.Roots {
		say("Of each root that matches %s stay %s.", r.Pattern, inWords(r.Keep))
	}
	for _, r := range p.Expire {
		say("A root that matches %s goes when no run of it came for %s.", r.Pattern, r.Unrenewed)
	}
	if len(p.Roots) > 0 {
		say("That keeps %d of %s.", plan.RunsKept, plural(int64(plan.Runs), "run"))
	} else if plan.Runs > 0 {
		say("No rule keeps any of %s.", plural(int64(plan.Runs), "run"))
	}
	if p.Young.IsZero() {
		say("A path does not stay because it is young.")
	} else {
		say("A path that was pushed within %s stays, with all that it refers to: %s now.", p.Young, counted(young, "path"))
	}
	if !p.Used.IsZero() {
		say("A path that was read within %s stays likewise: %s now; a Nix that has read a narinfo asks for it again after 30 days.", p.Used, counted(used, "path"))
	}
	if p.Logs != nil {
		say("Build logs stay for %s.", p.Logs)
	}
	if p.Debug != nil {
		say("Debug links stay for %s, or as long as their path if that is shorter.", p.Debug)
	}
	say("In all: %s to stay, %s to go.", counted(plan.Live, "path"), counted(plan.Withdraw, "path"))
	switch {
	case p.MaxSize == 0:
	case plan.Over != nil:
		say("What is pinned takes %s, more than the %s that the cache may have: nothing goes because of that.", bytesize(plan.Over.Bytes), bytesize(p.MaxSize))
	case len(plan.ForSize) > 0 || plan.LooseForSize > 0:
		say("Of these, %s and %s go because the cache may have no more than %s: what was used longest ago goes first.",
			plural(int64(len(plan.ForSize)), "run"), plural(int64(plan.LooseForSize), "young path"), bytesize(p.MaxSize))
	default:
		say("That is %d%% of the %s that the cache may have.", 100*plan.Live.Bytes/p.MaxSize, bytesize(p.MaxSize))
	}
	if p.Warn > 0 && plan.Over == nil {
		say("gc warns from %d%% on.", p.Warn)
	}
	if p.Undo.IsZero() {
		say("What goes cannot be brought back.")
	} else {
		say("What goes can be brought back for %s (gc undo).", p.Undo)
	}
	return text
}

// inWords returns what a rule keeps of each root.
func inWords(k gc.Keep) string {
	if k.All {
		return "all runs"
	}
	var parts []string
	switch {
	case k.Last == 1:
		parts = append(parts, "the last run")
	case k.Last > 1:
		parts = append(parts, fmt.Sprintf("the last %d runs", k.Last))
	}
	for _, p := range []struct {
		n    int
		noun string
	}{{k.Daily, "day"}, {k.Weekly, "week"}, {k.Monthly, "month"}, {k.Yearly, "year"}} {
		switch {
		case p.n == 1:
			parts = append(parts, "the last of one "+p.noun)
		case p.n > 1:
			parts = append(parts, fmt.Sprintf("the last of each of %d %ss", p.n, p.noun))
		}
	}
	if !k.Within.IsZero() {
		parts = append(parts, fmt.Sprintf("those within %s of the newest", k.Within))
	}
	return strings.Join(parts, ", ")
}
