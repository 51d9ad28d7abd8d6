//go:build real

package nixstore

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Every log of the store, plain and compressed, reads as nix log prints it.
func TestLogsAreNixs(t *testing.T) {
	store, nix := peers.Closure(t), peers.Newest(t)
	s := openWith(t, nix, store.Root)
	var plain, compressed int
	infos, err := s.Infos(t.Context(), storePaths(t, layout.DefaultStoreDir, store.Paths...))
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if info.Deriver == "" {
			continue
		}
		log, err := s.Log(t.Context(), info.Deriver)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(log)
		if err := errors.Join(err, log.Close()); err != nil {
			t.Fatal(err)
		}
		if _, ok := log.(bzip2Log); ok {
			compressed++
		} else {
			plain++
		}
		if plain+compressed > 6 && plain > 0 && compressed > 0 {
			break
		}
		want := nix.Output(t, "nix", "log", "--store", store.Root, info.Path.Abs(layout.DefaultStoreDir))
		if strings.TrimSuffix(string(got), "\n") != want {
			t.Errorf("log of %s differs from nix log:\n%q\n%q", info.Path, got, want)
		}
	}
	if plain == 0 || compressed == 0 {
		t.Errorf("%d plain and %d compressed logs, want both", plain, compressed)
	}
}
