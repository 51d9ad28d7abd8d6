package gc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// A world is who is at work at the same time. The first may die.
type world struct {
	name   string
	actors []actor
	fenced bool // it is a bucket: nothing keeps late requests out
	long   bool // it has many schedules
	// may says which errors of the others are expected.
	may func(error) bool
}

const aWeek = 7 * 24 * time.Hour

func worlds() []world {
	missing := func(err error) bool { return errors.As(err, new(*gc.MissingPathError)) }
	return []world{
		{name: "push", actors: []actor{sweeper(0), push("y", "x", "p")}},
		{name: "push, undo", actors: []actor{sweeper(aWeek), push("y", "x", "p")}},
		{name: "push again", actors: []actor{sweeper(0), push("y", "x")}},
		{name: "push at once", actors: []actor{sweeper(0), pushAtOnce("y", "x", "p")}},
		{name: "push at once again", actors: []actor{sweeper(0), pushAtOnce("y", "x")}},
		{name: "push the same NAR", actors: []actor{sweeper(0), push("z")}},
		{name: "push the same NAR, undo", actors: []actor{sweeper(aWeek), push("z")}},
		{name: "export", actors: []actor{sweeper(0), exporter("p")}},
		{name: "export, undo", actors: []actor{sweeper(aWeek), exporter("p")}},
		{name: "export what is there", actors: []actor{sweeper(0), exporter("x")}},
		{name: "pin", actors: []actor{sweeper(0), pinner("x")}, may: missing},
		{name: "files", actors: []actor{sweeper(0), early("z")}},
		{name: "two pushes", actors: []actor{sweeper(0), push("y", "x", "p"), push("z")}, long: true},
		{name: "push and export", actors: []actor{sweeper(0), push("z"), exporter("p")}, long: true},
	}
}

// A removed step is one that the protocol has to do without.
type removed struct {
	turns func(*treetest.Turns)
	fence func(*layout.Fence)
	sure  bool // no process dies, and every request gets an answer
}

// tick is how much time passes while all processes wait for it.
var tick = map[bool]time.Duration{false: time.Second, true: time.Minute}

// try runs one schedule of a world, and tells what went wrong.
func (w world) try(t *testing.T, f *fixture, s *treetest.Search, out *removed) (wrong string) {
	synctest.Test(t, func(t *testing.T) {
		if lock := &gc.Without.Lock; w.fenced && !*lock { // the protocol holds without it
			*lock = true
			defer func() { *lock = false }()
		}
		mem := f.tree.Clone(nil)
		f.complaints.Reset()
		tree := treetest.NewTurns(mem)
		tree.Free = func(layout.Key) bool { return true }
		if out.turns != nil {
			out.turns(tree)
		}
		time.Sleep(100 * 24 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		errs := make([]error, len(w.actors))
		ended := make([]bool, len(w.actors))
		var runs []func(context.Context) error
		for i, a := range w.actors {
			process := tree.Process(i)
			if w.fenced {
				fenced := tree.FencedProcess(i)
				if out.fence != nil {
					out.fence(fenced.Fence())
				}
				process = fenced
			}
			run, err := a.open(f, process)
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, run)
		}
		tree.Free = func(key layout.Key) bool {
			if w.fenced && seenByOne(key) {
				return true
			}
			return strings.HasPrefix(string(key), layout.PrivatePrefix+"sync-lease") || key == layout.CacheInfoKey
		}
		for i, run := range runs {
			go func() {
				errs[i] = run(ctx)
				ended[i] = true
			}()
		}
		for {
			synctest.Wait()
			if s.Step(tree) {
				continue
			}
			if !slices.Contains(ended, false) {
				break
			}
			time.Sleep(tick[w.fenced]) // what waits now waits for time
			if time.Since(time.Date(2000, 6, 1, 0, 0, 0, 0, time.UTC)) > 0 {
				wrong = "somebody waits for ever"
				cancel()
				break
			}
		}
		cancel()
		tree.Arrive()
		tree.Free = func(layout.Key) bool { return true }
		for _, b := range f.inboxes {
			b.Close()
		}
		f.inboxes = nil
		synctest.Wait()
		if wrong == "" {
			wrong = w.judge(f, mem, errs)
		}
	})
	return wrong
}

// judge looks at what is left in the end.
func (w world) judge(f *fixture, mem *treetest.Mem, errs []error) string {
	if broken := mem.Violations(); len(broken) > 0 {
		return broken[0]
	}
	ctx := context.Background()
	there := func(p layout.StorePath) bool {
		_, ok, _ := layout.Lookup(ctx, mem, layout.NarInfoKey(p))
		return ok
	}
	recorded := map[layout.Key]bool{}
	records, _ := gc.Records(ctx, mem)
	for _, r := range records {
		for w := range r.Read(ctx, mem) {
			recorded[w.Key] = true
		}
	}
	for i, a := range w.actors {
		if err := errs[i]; err != nil {
			if !errors.Is(err, treetest.ErrDied) && !(w.fenced && mayFail(err)) && (w.may == nil || !w.may(err)) {
				return fmt.Sprintf("%s: %v", a.name, err)
			}
			continue
		}
		if strings.Contains(f.complaints.String(), "cannot be renewed") {
			continue // the request got no answer, and the operator is told
		}
		for _, name := range a.pushes {
			n := f.infos[name]
			for _, p := range append([]layout.StorePath{n.Path}, n.References...) {
				if !there(p) {
					return fmt.Sprintf("%s: acknowledged, and %s is gone", a.name, p)
				}
			}
		}
	}
	if strings.HasSuffix(w.name, "undo") && !w.fenced {
		for _, name := range []string{"x", "y"} {
			if key := layout.NarInfoKey(path(name)); !there(path(name)) && !recorded[key] {
				return fmt.Sprintf("%s was withdrawn without a record", name)
			}
		}
	}
	return ""
}

// explore goes through all schedules of a world, and returns the first that goes
// wrong.
func (w world) explore(t *testing.T, f *fixture, bound int, out *removed) (s *treetest.Search, wrong string) {
	s = &treetest.Search{Bound: bound, Mortal: []int{0}}
	if out.sure {
		s.Mortal, s.Sure = nil, true
	}
	for s.Next() {
		if wrong = w.try(t, f, s, out); wrong != "" {
			return s, wrong
		}
	}
	return s, ""
}

// bound is how often a process is interrupted: NIXSTATIC_EXPLORE says how often,
// for make explore.
func bound(t *testing.T) int {
	switch n := os.Getenv("NIXSTATIC_EXPLORE"); n {
	case "":
		return 1
	default:
		var bound int
		if _, err := fmt.Sscan(n, &bound); err != nil {
			t.Fatal(err)
		}
		return bound
	}
}

// TestExplore shows that in no order of operations a tree is broken, something
// acknowledged is lost, or an upload is refused; wherever the sweeper dies.
func TestExplore(t *testing.T) {
	f := newFixture(t)
	schedules, steps := 0, 0
	for n, w := range worlds() {
		if n%quick.Step(4) > 0 || w.long && !quick.All {
			continue
		}
		s, wrong := w.explore(t, f, bound(t), &removed{})
		if wrong != "" {
			t.Errorf("%s: %s\n%s", w.name, wrong, s.Trace())
		}
		t.Logf("%-22s %7d schedules, %8d steps", w.name, s.Schedules, s.Steps)
		schedules, steps = schedules+s.Schedules, steps+s.Steps
	}
	t.Logf("%d schedules, %d steps, at most %d interruptions each", schedules, steps, bound(t))
}

// TestExploreWithout takes one step after the other out of the protocol: the same
// search finds what it is there for.
func TestExploreWithout(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		name  string
		field *bool
		turns func(*treetest.Turns)
		long  bool // it is found after many schedules
	}{
		{"writers that wait for a sweep, and it for them", nil, func(tree *treetest.Turns) { tree.Without.WriterLock = true }, false},
		{"a look that waits for a sweep", nil, func(tree *treetest.Turns) { tree.Without.LookLock = true }, true},
		{"writers that see that something was removed", nil, func(tree *treetest.Turns) { tree.Without.Versions = true }, true},
		{"keeping writers out", &gc.Without.Exclude, nil, false},
		{"announcing", &gc.Without.Announce, nil, true},
		{"looking again", &gc.Without.Recheck, nil, false},
		{"keeping what new paths lead to", &gc.Without.Closure, nil, true},
		{"keeping what was renewed", &gc.Without.Renewed, nil, false},
		{"referrers first", &gc.Without.Order, nil, false},
		{"records", &gc.Without.Records, nil, false},
		{"comparing versions of NARs", &gc.Without.Versions, nil, true},
	} {
		if c.long && !quick.All {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.field != nil {
				*c.field = true
				defer func() { *c.field = false }()
			}
			for bound := range 3 {
				for _, w := range worlds() {
					if s, wrong := w.explore(t, f, bound, &removed{turns: c.turns}); wrong != "" {
						t.Logf("%s: %s, found after %d schedules, in %d steps", w.name, wrong, s.Schedules, strings.Count(s.Trace(), "\n")+1)
						return
					}
				}
			}
			t.Error("the search finds nothing")
		})
	}
}
