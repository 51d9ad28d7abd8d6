package gc_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// The bytes of a tree with many roots add up. NIXSTATIC_TEST_PATHS makes it larger, and
// NIXSTATIC_TEST_DU is a nixstatic that tells on standard error what its du took of it.
func TestMeasureScale(t *testing.T) {
	paths, roots := 1000/quick.Step(5), 50
	if n, err := strconv.Atoi(os.Getenv("NIXSTATIC_TEST_PATHS")); err == nil {
		paths, roots = n, 500
	}
	f := newForest(t, 1)
	at := time.Now().Add(-time.Hour)
	var own []layout.StorePath
	for n := range paths {
		var refs []layout.StorePath
		for range min(3, n) {
			refs = append(refs, f.paths[max(0, n-1-f.r.IntN(200))])
		}
		if len(refs) == 3 && (refs[0] == refs[1] || refs[1] == refs[2] || refs[0] == refs[2]) {
			refs = refs[:1]
		}
		own = append(own, f.grow(at, 10, refs...))
		if len(own) == max(1, paths/roots) {
			f.list(fmt.Sprintf("acme/p%d/main", n%97), fmt.Sprintf("r%d", n), at, own)
			own = nil
		}
	}
	used, err := gc.Measure(t.Context(), f, gc.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if used.Total.Count != int64(paths) || used.Total.Bytes != f.files() || len(used.Roots) < roots {
		t.Errorf("%d roots, %+v, and there are %d paths and %d bytes", len(used.Roots), used.Total, paths, f.files())
	}
	program := os.Getenv("NIXSTATIC_TEST_DU")
	if program == "" {
		return
	}
	if out, err := exec.Command(program, "gc", "-q", "--no-pins", f.Path()).CombinedOutput(); err != nil { // remembers
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program, "du", "-q", "--json", f.Path())
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	t.Logf("%d paths, %d roots: %s, %d bytes of JSON", paths, roots, strings.TrimSpace(said.String()), len(out))
}
