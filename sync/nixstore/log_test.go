package nixstore

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLogPlaces(t *testing.T) {
	const drv = "00000000000000000000000000000000-x.drv"
	s, root := resolving(t)
	drvs := root + "/nix/var/log/nix/drvs/"
	if _, err := s.Log(t.Context(), drv); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{drv, "00/" + drv[2:]} { // the newer place wins
		if err := os.MkdirAll(filepath.Dir(drvs+name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(drvs+name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		log, err := s.Log(t.Context(), drv)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		if text, err := io.ReadAll(log); err != nil || string(text) != name {
			t.Errorf("log %q, %v, want %q", text, err, name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Log(ctx, drv); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}
