package gc_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// The size of a tree holds, whole runs go and those used longest ago first, and what
// the plan says of bytes is true of the files.
func TestMaxSize(t *testing.T) {
	for seed := range uint64(12 / quick.Step(12)) {
		f := newForest(t, seed)
		long := time.Now().Add(-300 * 24 * time.Hour)
		var pinned []layout.StorePath
		members := map[string][]layout.StorePath{}
		for n := range 12 {
			var own []layout.StorePath
			for range 2 + f.r.IntN(8) {
				var refs []layout.StorePath
				for range f.r.IntN(3) {
					if len(f.paths) > 0 {
						if p := f.paths[f.r.IntN(len(f.paths))]; !slices.Contains(refs, p) {
							refs = append(refs, p)
						}
					}
				}
				own = append(own, f.grow(long, 100+f.r.IntN(4000), refs...))
			}
			name := fmt.Sprintf("acme/main@%d", n)
			members[name] = own
			ran(t, f, name, own...)
			if n == 3 {
				pinned = own[:1]
				pin(t, f, "host", pinned...)
			}
		}
		f.grow(time.Now(), 500) // young
		total := f.files()
		limit := int64(10_000 + f.r.IntN(int(total)))
		o := gc.Options{MaxRemoval: 1, KeepYoung: 24 * time.Hour, Grace: 24 * time.Hour}
		o.Policy = policy(t, fmt.Sprintf("keep pins\nkeep roots * all\nmax-size %dB\nundo 0", limit))
		run, plan := f.collect(o)
		there := f.whole()
		for _, p := range pinned {
			if !there[p] {
				t.Errorf("seed %d: the pinned %s is gone", seed, p)
			}
		}
		if plan.Over != nil {
			if run.Withdrawn.Count > 0 || plan.Over.Bytes <= limit {
				t.Errorf("seed %d: pins alone are too large, and %+v went", seed, run)
			}
			continue
		}
		if plan.Live.Bytes > limit {
			t.Errorf("seed %d: %d bytes stay, more than %d", seed, plan.Live.Bytes, limit)
		}
		// The plan removes logs and links of what goes only after they have waited.
		o.Grace = 0
		if plan.LooseForSize > 0 {
			o.KeepYoung = 0 // the NAR of a young path stays for a while
		}
		o.Now = func() time.Time { return time.Now().Add(time.Hour) }
		f.collect(o)
		if files := f.files(); files != plan.Live.Bytes || int64(len(f.whole())) != plan.Live.Count {
			t.Errorf("seed %d: %d bytes of %d paths are left, and the plan said %+v", seed, files, len(f.whole()), plan.Live)
		}
		// Those that went are the oldest, and went whole but for what others keep.
		gone := len(plan.ForSize)
		for n := range 12 {
			if name := fmt.Sprintf("acme/main@%d", n); slices.Contains(plan.ForSize, "root "+name) != (n < gone) {
				t.Errorf("seed %d: of %v, %s", seed, plan.ForSize, name)
			} else if n >= gone {
				for _, p := range members[name] {
					if !there[p] {
						t.Errorf("seed %d: %s stays, without %s", seed, name, p)
					}
				}
			}
		}
		if total > limit && gone == 0 && plan.LooseForSize == 0 {
			t.Errorf("seed %d: %d of %d bytes, and nothing went", seed, limit, total)
		}
	}
}

func (f *forest) collect(o gc.Options) (gc.Run, gc.Plan) {
	f.t.Helper()
	var plan gc.Plan
	run, err := gc.Collect(f.t.Context(), f.Dir, o, func(p *gc.Plan) error { plan = *p; return nil })
	if err != nil {
		f.t.Fatal(err)
	}
	return run, plan
}

// A root's own bytes are what its removal sets free, to the byte.
func TestOnlyIsWhatGoes(t *testing.T) {
	f := newForest(t, 99)
	long := time.Now().Add(-300 * 24 * time.Hour)
	for n := range 6 {
		var own []layout.StorePath
		for range 5 {
			var refs []layout.StorePath
			if len(f.paths) > 0 {
				refs = append(refs, f.paths[f.r.IntN(len(f.paths))])
			}
			own = append(own, f.grow(long, f.r.IntN(1000), refs...))
		}
		pin(t, f, fmt.Sprint("p", n), own...)
	}
	o := gc.Options{MaxRemoval: 1, NoPins: true}
	for n := range 6 {
		before := f.files()
		plan, err := gc.Preview(t.Context(), f, o)
		if err != nil {
			t.Fatal(err)
		}
		var only gc.Size
		for _, r := range plan.Roots {
			if r.Name == fmt.Sprintf("pin p%d@1", n) {
				only = r.Only
			}
		}
		if err := gc.RemovePin(t.Context(), f, fmt.Sprint("p", n), 0); err != nil {
			t.Fatal(err)
		}
		run, _ := f.collect(o)
		f.collect(o)
		if went := before - f.files(); went != only.Bytes || run.Withdrawn.Count != only.Count {
			t.Errorf("pin p%d: %d bytes and %d paths went, and it alone kept %+v", n, went, run.Withdrawn.Count, only)
		}
	}
	if left := f.files(); left != 0 {
		t.Errorf("%d bytes are left", left)
	}
}
