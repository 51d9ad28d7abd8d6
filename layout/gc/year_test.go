package gc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// list writes down what a run pushed at a moment.
func (f *forest) list(root, run string, at time.Time, members []layout.StorePath) {
	f.t.Helper()
	moment := at.UTC().Format(time.RFC3339)
	text := fmt.Sprintf(`{"version":1,"root":%q,"run":%q,"begun":%q,"renewed":%q}`+"\n", root, run, moment, moment)
	for _, p := range members {
		text += p.Hash() + "\n"
	}
	key := layout.Key(layout.RootsPrefix + root + "/@" + run + "/x-0000")
	if err := os.MkdirAll(filepath.Dir(filepath.Join(f.Path(), string(key))), 0o755); err != nil {
		f.t.Fatal(err)
	}
	f.write(key, []byte(text), at)
}

// The size of the tree of a busy CI holds from day to day, no pinned closure and none
// of the newest runs is ever incomplete, and the report adds up. NIXSTATIC_YEAR=365
// makes it a year of 20 projects and 200,000 paths.
func TestYear(t *testing.T) {
	days, projects, most, paths, limit := 25/quick.Step(3), 8, 4, 2, int64(900_000)
	if n, err := strconv.Atoi(os.Getenv("NIXSTATIC_YEAR")); err == nil {
		days, projects, most, paths, limit = n, 20, 5, 9, 12_000_000
	}
	f := newForest(t, 2026)
	start := time.Now()
	base := []layout.StorePath{f.grow(start, 20_000)}
	for range 10 { // what all need
		base = append(base, f.grow(start, 5000, base[f.r.IntN(len(base))]))
	}
	pin(t, f, "base", base...)
	o := gc.Options{MaxRemoval: 1, KeepYoung: 48 * time.Hour}
	o.Policy = policy(t, fmt.Sprintf("keep pins\nkeep roots */main/* last 5, daily 7\nkeep roots */pull/* within 7d\nkeep young 2d\nexpire roots * unrenewed 30d\nmax-size %dB\nundo 0", limit))
	type run struct {
		name    string
		members []layout.StorePath
	}
	newest := map[string][]run{} // of each main root, the last five
	dropped := map[string]bool{}
	for day := range days {
		at := start.Add(time.Duration(day) * 24 * time.Hour)
		for project := range projects {
			for n := range 1 + f.r.IntN(most) {
				at = at.Add(time.Minute)
				members := []layout.StorePath{f.grow(at, 500+f.r.IntN(3000), base[f.r.IntN(len(base))])}
				for len(members) < paths {
					members = append(members, f.grow(at, 1+f.r.IntN(4000), members[len(members)-1], base[f.r.IntN(len(base))]))
				}
				root := fmt.Sprintf("acme/p%d/main", project)
				if n > 0 {
					root = fmt.Sprintf("acme/p%d/pull/%d", project, day%40)
				}
				name := fmt.Sprintf("run-%d-%d", day, n)
				f.list(root, name, at, members)
				if n == 0 {
					newest[root] = append(newest[root], run{"root " + root + "@" + name, members})
				}
			}
		}
		at = at.Add(time.Hour)
		o.Now = func() time.Time { return at }
		_, plan := f.collect(o)
		if plan.Live.Bytes > limit || plan.Over != nil {
			t.Fatalf("on day %d %d bytes stay, more than %d", day, plan.Live.Bytes, limit)
		}
		for _, name := range plan.ForSize {
			dropped[name] = true
		}
		there := f.whole()
		if int64(len(there)) != plan.Live.Count {
			t.Fatalf("on day %d there are %d paths, and the report says %d", day, len(there), plan.Live.Count)
		}
		for _, p := range base {
			if !there[p] {
				t.Fatalf("on day %d the pinned %s is gone", day, p)
			}
		}
		for _, runs := range newest {
			for _, r := range runs[max(0, len(runs)-5):] {
				for _, p := range r.members {
					if !there[p] && !dropped[r.name] { // by the size, as a whole
						t.Fatalf("on day %d %s has lost %s", day, r.name, p)
					}
				}
			}
		}
		for p := range f.refs { // the forest forgets what went
			if !there[p] {
				delete(f.refs, p)
			}
		}
	}
	t.Logf("%d days, %d paths came, %d runs went for the size", days, f.count, len(dropped))
	if days > 20 && len(dropped) == 0 {
		t.Error("the tree never became too large: the test shows nothing")
	}
}
