//go:build real

package s3

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
)

// TestClock: to a machine that lives in the year 2000, as a bubble does, the real
// store says no, and we say why. Neither absence nor wrong credentials are it.
func TestClock(t *testing.T) {
	loc := location(t, server.Endpoint)
	create(t, loc)
	synctest.Test(t, func(t *testing.T) {
		b, err := New(t.Context(), loc)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		err = b.Check(t.Context())
		if !errors.Is(err, ErrClock) || errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "behind the store's") {
			t.Errorf("Check: %v", err)
		}
		if _, err := b.Stat(t.Context(), "nix-cache-info"); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat: %v", err)
		}
		t.Log(err)
	})
}
