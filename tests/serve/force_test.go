//go:build real

package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A push with --force may come again and again, and mends all that a disk has changed of a
// path; one without mends what readers would refuse.
func TestPushMends(t *testing.T) {
	s := start(t)
	store := peers.StoreRoot(t)
	dir := filepath.Join(t.TempDir(), "small", "lib", "debug", ".build-id", "ab")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.Repeat("c", 38)+".debug"), []byte(strings.Repeat("a debug file ", 100)), 0o644); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(peers.Newest(t).Output(t, "nix-store", "--store", store, "--add", strings.TrimSuffix(dir, "/lib/debug/.build-id/ab")))
	p := nixtest.Program{Nix: peers.Newest(t)}
	push := func(more ...string) {
		t.Helper()
		args := append([]string{"push", "--store", store, "--debug-info", "--netrc-file", s.netrc(t, strings.TrimPrefix(s.URL, "http://"))}, more...)
		p.Run(t, append(args, s.URL+"/upload", path)...).Want(t, 0)
	}
	push("--force")
	push("--force")
	push("--force")
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	in := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return []byte(strings.Replace(string(b), old, new, 1)) }
	}
	for _, test := range []struct {
		pattern string
		damage  func([]byte) []byte
		force   bool
	}{
		{"*.narinfo", in("NarSize: ", "NarSize: 1"), false},
		{"*.narinfo", in("Sig: ", "Sig: x"), true},
		{"nar/*", func(b []byte) []byte { return b[:20] }, false},
		{"nar/*", flip, true},
		{"*.ls", flip, true},
		{"debuginfo/*.debug", in("lib/debug", "lib/debuh"), true},
	} {
		files, err := filepath.Glob(filepath.Join(s.Tree, test.pattern))
		if err != nil || len(files) != 1 {
			t.Fatal(files, err)
		}
		whole, err := os.ReadFile(files[0])
		if err == nil {
			err = os.WriteFile(files[0], test.damage([]byte(string(whole))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if test.force {
			push("--force")
		} else {
			push()
		}
		now, err := os.ReadFile(files[0])
		for line := range strings.Lines(string(whole)) {
			if !strings.Contains(string(now), line) {
				t.Errorf("%s is %q, without %q: %v", files[0], now, line, err)
			}
		}
		p.Run(t, "verify", "--deep", "--trusted-public-key", s.Key.Public, s.Tree).Want(t, 0)
	}
}
