package gc_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// The closures of many roots at once are those of each of them, also where forged
// records make a cycle.
func TestClosures(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	for n := range 300 {
		paths, ghosts := 1+r.IntN(40), r.IntN(5)
		references := make([][]int32, paths)
		for i := range references {
			for range r.IntN(4) {
				to := r.IntN(paths + ghosts)
				if n%3 > 0 && to < paths { // as in most trees: a path refers to older ones
					if to = r.IntN(i + 1); to == i {
						continue
					}
				}
				references[i] = append(references[i], int32(to))
			}
		}
		roots := make([][]int32, r.IntN(65))
		want := make([]uint64, paths+ghosts)
		for k := range roots {
			for range r.IntN(3) {
				roots[k] = append(roots[k], int32(r.IntN(paths+ghosts)))
			}
			todo := roots[k]
			for len(todo) > 0 {
				i := todo[0]
				todo = todo[1:]
				if want[i]&(1<<k) != 0 {
					continue
				}
				want[i] |= 1 << k
				if int(i) < paths {
					todo = append(todo[:len(todo):len(todo)], references[i]...)
				}
			}
		}
		if diff := cmp.Diff(want, gc.ClosuresOf(references, ghosts, roots)); diff != "" {
			t.Fatalf("%v, roots %v: %s", references, roots, diff)
		}
	}
}

// Each of more roots than are looked at together has what it has without the others, and
// alone what no other has. Youth has alone what no root has either.
func TestManyRoots(t *testing.T) {
	f := newForest(t, 7)
	long := time.Now().Add(-300 * 24 * time.Hour)
	var young []layout.StorePath
	for range 400 {
		var refs []layout.StorePath
		for range min(2, len(f.paths)) {
			refs = append(refs, f.paths[f.r.IntN(len(f.paths))/(1+f.r.IntN(9))])
		}
		at := long
		if f.r.IntN(10) == 0 {
			at = time.Now().Add(-time.Hour)
		}
		p := f.grow(at, 1+f.r.IntN(1000), refs...)
		if at != long {
			young = append(young, p)
		}
	}
	closure := func(paths ...layout.StorePath) map[layout.StorePath]bool {
		in := map[layout.StorePath]bool{}
		for len(paths) > 0 {
			p := paths[0]
			if paths = paths[1:]; !in[p] {
				in[p] = true
				paths = append(paths[:len(paths):len(paths)], f.refs[p]...)
			}
		}
		return in
	}
	measure := func() map[string]gc.Root {
		used, err := gc.Measure(t.Context(), f, gc.Options{KeepYoung: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		rows := map[string]gc.Root{}
		for _, r := range used.Roots {
			rows[r.Name] = r
		}
		return rows
	}
	const pins = 140
	alone, closures := map[string]gc.Root{}, map[string]map[layout.StorePath]bool{}
	holders := map[layout.StorePath]int64{}
	for n := range pins {
		name := fmt.Sprintf("p%d", n)
		paths := []layout.StorePath{f.paths[f.r.IntN(len(f.paths))], f.paths[f.r.IntN(len(f.paths))]}
		pin(t, f, name, paths...)
		if n%20 == 3 {
			alone["pin "+name+"@1"] = measure()["pin "+name+"@1"]
		}
		in := closure(paths...)
		closures["pin "+name+"@1"] = in
		for p := range in {
			holders[p]++
		}
	}
	rows := measure()
	for name, in := range closures {
		row, want := rows[name], int64(0)
		for p := range in {
			if holders[p] == 1 {
				want++
			}
		}
		if row.All.Count != int64(len(in)) || row.Only.Count != want {
			t.Errorf("%s: %+v, and it has %d paths, %d of them alone", name, row, len(in), want)
		}
		if before, ok := alone[name]; ok && before.All != row.All {
			t.Errorf("%s has %+v, and had %+v with fewer others", name, row.All, before.All)
		}
	}
	row, in, want := rows["young"], closure(young...), int64(0)
	for p := range in {
		if holders[p] == 0 {
			want++
		}
	}
	if row.All.Count != int64(len(in)) || row.Only.Count != want || want == 0 {
		t.Errorf("%+v, and %d paths are young or needed by such, %d of them by no pin", row, len(in), want)
	}
}
