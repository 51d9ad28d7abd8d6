//go:build real

package nixstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestBuildDeps has Nix say what a path was built from: the outputs and sources in the
// closure of its derivation.
func TestBuildDeps(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		r := newRelocated(t, nix)
		drvs, outs := r.build(t, "testdata/chain.nix", "top")
		s := openWith(t, nix, r.uri())
		deps, unknown, err := s.BuildDeps(t.Context(), outs)
		if err != nil || unknown != 0 {
			t.Fatalf("%v, %d unknown", err, unknown)
		}
		want := storePaths(t, r.storeDir(), strings.Fields(nix.Output(t, "nix-store", "--store", r.uri(), "--query", "--requisites", "--include-outputs", drvs[0].Abs(r.storeDir())))...)
		want = slices.DeleteFunc(want, layout.StorePath.IsDerivation)
		slices.Sort(want)
		slices.Sort(deps)
		if len(want) < 4 || !slices.Equal(want, deps) {
			t.Errorf("Nix %s: built from %v, want %v", nix.Version, deps, want)
		}
		// A path that was added has no deriver.
		if _, unknown, err := s.BuildDeps(t.Context(), deps[:1]); err != nil || unknown > 1 {
			t.Errorf("%v, %d unknown", err, unknown)
		}
	}
}
