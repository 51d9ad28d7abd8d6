package gc_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/roots"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func policy(t *testing.T, text string) *gc.Policy {
	t.Helper()
	p, err := gc.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// ran notes a run that pushed some paths.
func ran(t *testing.T, tree layout.Tree, id string, paths ...layout.StorePath) {
	t.Helper()
	root, name, _ := strings.Cut(id, "@")
	run, err := layout.MakeRunID(root, name)
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for _, p := range paths {
		hashes = append(hashes, p.Hash())
	}
	r := roots.NewRecorder(tree)
	defer r.Close()
	if err := r.Note(t.Context(), run, hashes...); err != nil {
		t.Fatal(err)
	}
}

// The newest generations of a root stay, by the policy, with all that they lead to.
func TestCollectKeepsRuns(t *testing.T) {
	tree, c := populated(t)
	path := func(name string) layout.StorePath { return c.Named(name).Info.Path }
	ran(t, tree, "acme/main@1", path("twin"), path("env"))
	time.Sleep(time.Millisecond) // generations have an order
	ran(t, tree, "acme/main@2", path("app"), layout.StorePath("00000000000000000000000000000000-refused"))
	ran(t, tree, "acme/main@2", path("lib-debug")) // another leg, another server
	age(t, tree, 40)

	o := now()
	o.Policy = policy(t, "keep roots acme/* last 2")
	_, plan := collect(t, tree, o)
	want(t, plan.Withdraw.Count, int64(len(c.Paths)-len(names(t, tree))))
	for _, name := range []string{"twin", "env", "app", "lib", "source", "flat", "lib-debug"} {
		treetest.Record(t, tree, name)
	}

	o.Policy = policy(t, "keep roots */main/* last 1")
	o.Grace = time.Hour
	collect(t, tree, o) // condemns
	if n := lists(t, tree); n != 3 {
		t.Errorf("%d lists are left before the grace is over", n)
	}
	o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	run, _ := collect(t, tree, o)
	want(t, names(t, tree), []string{"app", "flat", "lib", "lib-debug", "source"})
	if run.Withdrawn.Count == 0 || lists(t, tree) != 3 {
		t.Errorf("%+v, and %d lists are left as long as there may be an undo", run, lists(t, tree))
	}
	chains, err := gc.Why(t.Context(), tree, o, path("lib"))
	if err != nil || len(chains) != 1 || chains[0].Root != "root acme/main@2" {
		t.Errorf("%+v, %v", chains, err)
	}
	if _, err := gc.Undo(t.Context(), tree, 0, nil); err != nil {
		t.Fatal(err)
	}
	whole(t, tree)
	o.Now = days(8).Now
	if collect(t, tree, o); lists(t, tree) != 2 {
		t.Errorf("%d lists are left", lists(t, tree))
	}
}

func lists(t *testing.T, tree layout.Lister) int {
	t.Helper()
	infos, err := roots.Infos(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	return len(infos)
}

func TestCollectExpiresRoots(t *testing.T) {
	tree, c := populated(t)
	ran(t, tree, "acme/main@1", c.Named("app").Info.Path)
	age(t, tree, 40)
	o := days(20)
	o.Policy = policy(t, "keep roots * last 1\nexpire roots * unrenewed 30d")
	collect(t, tree, o)
	treetest.Record(t, tree, "app")
	// A root that nothing renews goes, and the tree is then without a root.
	o = days(40)
	o.Policy = policy(t, "keep roots * last 1\nexpire roots * unrenewed 30d")
	if _, err := gc.Collect(t.Context(), tree, o, nil); !errors.Is(err, gc.ErrNoRoots) {
		t.Errorf("the last root expired: %v", err)
	}
	o.NoPins = true
	collect(t, tree, o)
	want(t, names(t, tree), []string(nil))
}

// A list that cannot be read stops a run: what it would keep is not known.
func TestCollectStopsAtABadList(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "host", c.Named("app").Info.Path)
	age(t, tree, 40)
	treetest.PutText(t, tree, layout.Key(layout.RootsPrefix+"acme/@1/x-0000"), "{\"version\":1")
	before := len(names(t, tree))
	var wrong *roots.Error
	if _, err := gc.Collect(t.Context(), tree, now(), nil); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
	want(t, len(names(t, tree)), before)
}

// A run that comes to rely on a path while a sweep is under way keeps it.
func TestCollectMeetsANewRun(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "host", c.Named("flat").Info.Path)
	age(t, tree, 40)
	run, err := gc.Collect(t.Context(), tree, now(), func(*gc.Plan) error {
		ran(t, tree, "acme@1", c.Named("app").Info.Path)
		return nil
	})
	if err != nil || run.Kept == 0 {
		t.Errorf("%+v, %v", run, err)
	}
	want(t, names(t, tree), []string{"app", "flat", "lib", "source"})
	whole(t, tree)
}

// Logs and debug links have lives of their own.
func TestCollectLives(t *testing.T) {
	tree, c := populated(t)
	var all []layout.StorePath
	for _, p := range c.Paths {
		all = append(all, p.Info.Path)
	}
	pin(t, tree, "all", all...)
	treetest.PutText(t, tree, layout.LogKey("00000000000000000000000000000000-failed.drv"), "a build that has no output\n")
	has := func(kind layout.Kind) int { return len(keys(t, tree, kind)) }
	logs, links := has(layout.KindLog), has(layout.KindDebugInfo)
	if logs == 0 || links == 0 {
		t.Fatal("the tree has neither logs nor debug links")
	}
	o := days(100)
	o.Policy = policy(t, "keep pins\nlife logs 120d\nlife debug 210d")
	collect(t, tree, o)
	want(t, has(layout.KindLog), logs)
	o.Now = days(130).Now
	collect(t, tree, o)
	want(t, []int{has(layout.KindLog), has(layout.KindDebugInfo)}, []int{0, links})
	o.Now = days(220).Now
	collect(t, tree, o)
	want(t, has(layout.KindDebugInfo), 0)
	want(t, len(names(t, tree)), len(c.Paths))
}

// No rule that keeps makes others keep less, and no rule that lets go makes others
// keep more.
func TestPolicyIsMonotone(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	now := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	patterns := []layout.RootPattern{"*", "*/main/*", "*/pull/*", "a/*", "*1", "a/main"}
	for range 300 {
		var all []roots.Generation
		for _, name := range []string{"a/main", "a/pull/1", "b/main", "b/pull/2"} {
			at := now.Add(-time.Duration(r.IntN(1000)) * time.Hour)
			for n := range r.IntN(12) {
				all = append(all, roots.Generation{ID: layout.RunID{Root: name, Run: fmt.Sprint("r", n)}, Begun: at, Renewed: at.Add(time.Hour)})
				at = at.Add(-time.Duration(r.IntN(200)) * time.Hour)
			}
		}
		var p gc.Policy
		before := p.Keeps(all, now)
		for range 6 {
			more := p
			grows := r.IntN(3) > 0
			if grows {
				more.Roots = append(more.Roots[:len(more.Roots):len(more.Roots)], gc.RootRule{patterns[r.IntN(len(patterns))], randomKeep(r)})
			} else {
				more.Expire = append(more.Expire[:len(more.Expire):len(more.Expire)], gc.ExpireRule{patterns[r.IntN(len(patterns))], gc.Age{Days: 1 + r.IntN(60)}})
			}
			after := more.Keeps(all, now)
			for i := range all {
				if grows && before[i] && !after[i] || !grows && !before[i] && after[i] {
					t.Fatalf("%s: kept %v by\n%s\nand %v by\n%s", all[i].ID, before[i], p, after[i], more)
				}
			}
			p, before = more, after
		}
	}
}

func randomKeep(r *rand.Rand) gc.Keep {
	var k gc.Keep
	for _, n := range []*int{&k.Last, &k.Daily, &k.Weekly, &k.Monthly, &k.Yearly} {
		if r.IntN(3) == 0 {
			*n = 1 + r.IntN(12)
		}
	}
	if r.IntN(3) == 0 {
		k.Within = []gc.Age{{Days: 1 + r.IntN(60)}, {Hours: 1 + r.IntN(100)}, {Years: 1, Months: r.IntN(7), Days: r.IntN(40), Hours: r.IntN(30)}}[r.IntN(3)]
	}
	if (k == gc.Keep{}) {
		k.Last = 1
	}
	return k
}
