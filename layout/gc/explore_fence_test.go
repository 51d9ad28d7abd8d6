package gc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// seenByOne reports whether only sweepers look at a key, or an object that never
// changes: the order of what is done with it does not matter.
func seenByOne(key layout.Key) bool {
	for _, prefix := range []string{string(layout.CondemnedKey), string(layout.ClockKey), layout.RunsPrefix,
		layout.WithdrawnPrefix, layout.ListsPrefix, layout.PinsFolder, layout.ProvisionsPrefix} {
		if strings.HasPrefix(string(key), prefix) {
			return true
		}
	}
	return false
}

// mayFail reports whether an error is that of a request without an answer, or of a
// sweeper that found another one at work.
func mayFail(err error) bool {
	for _, allowed := range []error{treetest.ErrLost, layout.ErrUnanswered, layout.ErrLate, gc.ErrOvertaken} {
		if errors.Is(err, allowed) {
			return true
		}
	}
	return errors.As(err, new(*gc.UnsettledError))
}

// rounds is a sweeper that runs several times.
func rounds(name string, before, between time.Duration, times int) actor {
	return actor{name: name, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			time.Sleep(before)
			var failed error
			for n := range times {
				if n > 0 {
					time.Sleep(between)
				}
				_, err := gc.Collect(ctx, tree, gc.Options{KeepYoung: 30 * 24 * time.Hour, MaxRemoval: 1, Jobs: 1}, nil)
				if errors.Is(err, treetest.ErrDied) {
					return err
				}
				failed = errors.Join(failed, err)
			}
			return failed
		}, nil
	}}
}

// fencePasses is longer than the fence of the tree.
const fencePasses = 61 * time.Minute

func fencedWorlds(between time.Duration) []world {
	missing := func(err error) bool { return errors.As(err, new(*gc.MissingPathError)) }
	// The client knows nothing of x, and is told to send it.
	refused := func(err error) bool {
		var r *inbox.Refusal
		return errors.As(err, &r) && r.Reason == inbox.MissingReference
	}
	sweeper := rounds("gc", 0, between, 2)
	worlds := []world{
		{name: "push", actors: []actor{sweeper, push("y", "x", "p")}},
		{name: "push p", actors: []actor{sweeper, push("p")}, may: refused},
		{name: "push again", actors: []actor{sweeper, push("y", "x")}},
		{name: "push at once", actors: []actor{sweeper, pushAtOnce("y", "x", "p")}},
		{name: "push at once again", actors: []actor{sweeper, pushAtOnce("y", "x")}},
		{name: "push the same NAR", actors: []actor{sweeper, push("z")}},
		{name: "export", actors: []actor{sweeper, exporter("p")}},
		{name: "export the same NAR", actors: []actor{sweeper, exporter("z")}},
		{name: "export what is there", actors: []actor{sweeper, exporter("x")}},
		{name: "pin", actors: []actor{sweeper, pinner("x")}, may: missing},
		{name: "files", actors: []actor{sweeper, early("z")}},
		{name: "gc again", actors: []actor{sweeper, push("z"), rounds("gc again", 2*fencePasses, fencePasses, 2)}, long: true},
		{name: "two gc", actors: []actor{sweeper, push("y", "x", "p"), rounds("another gc", time.Minute, between, 2)}, long: true},
	}
	for i := range worlds {
		worlds[i].fenced = true
	}
	return worlds
}

// TestExploreFence is TestExplore for a bucket: requests get no answer and arrive
// later, and processes sleep.
func TestExploreFence(t *testing.T) {
	f := newFixture(t)
	schedules, steps := 0, 0
	for n, w := range fencedWorlds(fencePasses) {
		if n%quick.Step(8) > 0 || w.long && !quick.All {
			continue
		}
		begun := time.Now()
		s, wrong := w.explore(t, f, bound(t), &removed{})
		if wrong != "" {
			t.Errorf("%s: %s\n%s", w.name, wrong, s.Trace())
		}
		t.Logf("%-22s %7d schedules, %8d steps, %v", w.name, s.Schedules, s.Steps, time.Since(begun).Round(time.Millisecond))
		schedules, steps = schedules+s.Schedules, steps+s.Steps
	}
	t.Logf("%d schedules, %d steps, at most %d interruptions each", schedules, steps, bound(t))
}

// TestExploreFenceWithout is TestExploreWithout for a bucket.
func TestExploreFenceWithout(t *testing.T) {
	f := newFixture(t)
	own := func(key layout.Key) bool { return key.PathHash() == path("x").Hash() }
	for _, c := range []struct {
		name    string
		world   string
		field   *bool
		turns   func(*treetest.Turns)
		fence   func(*layout.Fence)
		between time.Duration
		sure    bool // no process need die, and no request be lost, to show it
		long    bool // it is found after many schedules
	}{
		{name: "notes", world: "push p", long: true, fence: func(f *layout.Fence) { f.Without.Note = true }},
		{name: "reading the plan again after a note", world: "push p", long: true, fence: func(f *layout.Fence) { f.Without.Reread = true }},
		{name: "waiting while a slice is swept", world: "push p", long: true, fence: func(f *layout.Fence) { f.Without.Block = true }},
		{name: "looking after the plan was read", world: "push p", fence: func(f *layout.Fence) { f.Without.Stale = true }},
		{name: "NARs among what is relied upon", world: "export the same NAR", sure: true, long: true,
			fence: func(f *layout.Fence) {
				f.Without.Keys = func(key layout.Key) bool { return key.Kind() == layout.KindNAR }
			}},
		{name: "the own key among it", world: "push again", long: true, fence: func(f *layout.Fence) { f.Without.Keys = own }},
		{name: "a time for publications", world: "pin", sure: true, long: true, turns: func(tree *treetest.Turns) { tree.Without.Until = true }},
		{name: "the wait before the second scan", world: "push p", field: &gc.Without.Wait, between: time.Minute},
		{name: "a scan after the wait", world: "push p", field: &gc.Without.Scan, between: time.Minute},
		{name: "notes that are read after the announcement", world: "push p", long: true, field: &gc.Without.NotesEarly},
		{name: "keeping what a note leads to", world: "push p", field: &gc.Without.Closure},
		{name: "referrers first", world: "push p", field: &gc.Without.Order},
	} {
		if c.long && !quick.All {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if c.field != nil {
				*c.field = true
				defer func() { *c.field = false }()
			}
			if c.between == 0 {
				c.between = fencePasses
			}
			schedules := 0
			for bound := range 4 {
				for _, w := range fencedWorlds(c.between) {
					if w.name != c.world {
						continue
					}
					s, wrong := w.explore(t, f, bound, &removed{turns: c.turns, fence: c.fence, sure: c.sure})
					schedules += s.Schedules
					if wrong != "" {
						t.Logf("%s: %s, found after %d schedules, in %d steps", w.name, wrong, schedules, strings.Count(s.Trace(), "\n")+1)
						return
					}
				}
			}
			t.Error("the search finds nothing")
		})
	}
}
