package gc_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// No keep rule makes more go than went without it, whatever the other rules are, and none
// of the rules that take away makes less go.
func TestRulesAreMonotone(t *testing.T) {
	f := newForest(t, 77)
	today := time.Now()
	var paths []layout.StorePath
	for n := range 40 {
		var refs []layout.StorePath
		if n > 0 && n%3 > 0 {
			refs = append(refs, paths[f.r.IntN(n)])
		}
		paths = append(paths, f.grow(today.AddDate(0, 0, -f.r.IntN(60)), 10, refs...))
	}
	some := func() []layout.StorePath { return []layout.StorePath{paths[f.r.IntN(40)], paths[f.r.IntN(40)]} }
	pin(t, f, "base", some()...)
	for n, root := range []string{"a/main", "a/main", "a/main", "a/pull/1", "b", "b"} {
		f.list(root, fmt.Sprint("r", n), today.AddDate(0, 0, -f.r.IntN(60)), some())
	}
	for range 6 {
		readOn(t, f, f.r.IntN(60), layout.NarInfoKey(paths[f.r.IntN(40)]))
	}
	gone := func(rules []string) map[layout.StorePath]bool {
		plan, err := gc.Preview(t.Context(), f, gc.Options{MaxRemoval: 1, NoPins: true, NameAll: true,
			Policy: policy(t, strings.Join(rules, "\n"))})
		if err != nil {
			t.Fatal(err)
		}
		names := map[layout.StorePath]bool{}
		for _, going := range plan.Largest {
			names[going.Path] = true
		}
		if len(names) != int(plan.Withdraw.Count) {
			t.Fatalf("%d paths are named, and %d go", len(names), plan.Withdraw.Count)
		}
		return names
	}
	r := rand.New(rand.NewPCG(7, 7))
	keeps := func() string {
		return []string{"keep pins", fmt.Sprintf("keep young %dd", r.IntN(70)), fmt.Sprintf("keep used %dd", r.IntN(70)),
			fmt.Sprintf("keep roots %s %s", []string{"*", "a/*", "*/main/*", "b", "*r4"}[r.IntN(5)], randomKeep(r)), "keep roots * all"}[r.IntN(5)]
	}
	takes := func() string {
		return []string{fmt.Sprintf("expire roots %s unrenewed %dd", []string{"*", "a/*", "b"}[r.IntN(3)], 1+r.IntN(60)), "life logs 0", "life debug 3d"}[r.IntN(3)]
	}
	said := func(rules []string, rule string) bool { // a rule that is said but once
		words := strings.Fields(rule)
		return words[1] != "roots" && slices.ContainsFunc(rules, func(other string) bool { return strings.HasPrefix(other, words[0]+" "+words[1]) })
	}
	most := 0
	for range 40 / quick.Step(4) {
		var rules []string
		before := gone(rules)
		for range 6 {
			keep := r.IntN(3) > 0
			rule := takes()
			if keep {
				rule = keeps()
			}
			if said(rules, rule) {
				continue
			}
			rules = append(rules, rule)
			after := gone(rules)
			for _, p := range paths {
				if keep && after[p] && !before[p] || !keep && before[p] && !after[p] {
					t.Fatalf("with %q as the last of\n%s\n%s goes: %v, and before: %v", rule, strings.Join(rules, "\n"), p, after[p], before[p])
				}
			}
			most = max(most, len(before)-len(after))
			before = after
		}
	}
	if most == 0 {
		t.Error("no rule kept anything: the test shows nothing")
	}
}
