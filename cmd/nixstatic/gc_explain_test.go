package main

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout/gc"
)

// The sentences about a policy are true of it, also of an odd one.
func TestExplain(t *testing.T) {
	plan := gc.Plan{Live: gc.Size{Count: 3, Bytes: 600}, Withdraw: gc.Size{Count: 1, Bytes: 50}, Runs: 4, RunsKept: 2,
		Roots: []gc.Root{{Kind: "pin"}, {Kind: "pin"}, {Kind: "used", All: gc.Size{Count: 2, Bytes: 100}}}}
	over := plan
	over.Over = &gc.OverError{Bytes: 3e9, Max: 1e9}
	dropped := plan
	dropped.ForSize, dropped.LooseForSize = []string{"root a@1"}, 2
	for _, test := range []struct {
		policy    string
		plan      gc.Plan
		want, not []string
	}{
		{"", plan, []string{"Pins keep nothing", "No rule keeps any of 4 runs.", "does not stay because it is young", "for 7d (gc undo)"}, []string{"read within", "Build logs", "warns", "may have"}},
		{"keep used 30d", plan, []string{"A path does not stay because it is young. A path that was read within 30d stays likewise: 2 paths"}, []string{"So does"}},
		{"keep pins\nkeep young 1d\nkeep used 2h", plan, []string{"What is pinned stays: 2 generations.", "pushed within 1d stays", "read within 2h stays"}, nil},
		{"keep roots */main/* last 1, daily 2, monthly 1, within 1y6m\nkeep roots a all", plan,
			[]string{"matches */main/* stay the last run, the last of each of 2 days, the last of one month, those within 1y6m of the newest.", "matches a stay all runs.", "keeps 2 of 4 runs"}, []string{"No rule"}},
		{"expire roots * unrenewed 3d\nlife logs 0\nlife debug 1w", plan, []string{"no run of it came for 3d", "Build logs stay for 0d.", "Debug links stay for 7d"}, nil},
		{"undo 0", plan, []string{"cannot be brought back"}, []string{"gc undo"}},
		{"max-size 1kB warn 85%", plan, []string{"That is 60% of", "gc warns from 85% on."}, []string{"Of these"}},
		{"max-size 9000000TB warn 1%", plan, []string{"That is 0% of"}, nil},
		{"max-size 1kB", dropped, []string{"Of these, 1 run and 2 young paths go", "used longest ago goes first"}, []string{"warns", "That is"}},
		{"max-size 1GB warn 5%", over, []string{"What is pinned takes", "nothing goes because of that"}, []string{"warns", "Of these"}},
	} {
		p, err := gc.ParsePolicy([]byte(test.policy))
		if err != nil {
			t.Fatalf("%q: %v", test.policy, err)
		}
		text := strings.Join(explain(&p, &test.plan), " ")
		for _, s := range test.want {
			if !strings.Contains(text, s) {
				t.Errorf("%q: no %q in\n%s", test.policy, s, text)
			}
		}
		for _, s := range test.not {
			if strings.Contains(text, s) {
				t.Errorf("%q: %q in\n%s", test.policy, s, text)
			}
		}
	}
}
