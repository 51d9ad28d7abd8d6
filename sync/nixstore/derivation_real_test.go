//go:build real

package nixstore

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A derivation of Nix, read and written again, is the same to the byte.
func TestDerivationIsNixs(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		store := newRelocated(t, nix)
		drvs := strings.Fields(nix.Output(t, "nix-instantiate", "--store", store.uri(), derivationsFile(t)))
		if len(drvs) != 6 {
			t.Fatalf("%d derivations", len(drvs))
		}
		for _, drv := range drvs {
			text, err := os.ReadFile(drv)
			if err != nil {
				t.Fatal(err)
			}
			d, err := parseDerivation(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(text), d.marshal(d.inputDrvs, false)); diff != "" {
				t.Errorf("Nix %s: %s (-Nix +ours):\n%s", nix.Version, drv, diff)
			}
		}
	}
}
