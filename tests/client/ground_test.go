//go:build real

package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A ground is a healthy machine that uses a healthy cache, for a fault to be planted.
type ground struct {
	*person
	cache
	url string
}

// newGround serves a copy of the cache by nginx, with settings of its own, and has a
// machine use it.
func newGround(t testing.TB, c cache, settings ...string) *ground {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "cache")
	if out, err := exec.Command("cp", "-r", c.tree, tree).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.tree = tree
	return groundAt(t, c, plainNginx(t, tree, settings...).URL)
}

func groundAt(t testing.TB, c cache, url string) *ground {
	t.Helper()
	m := newMachine(t, peers.Newest(t))
	g := &ground{m.root(), c, url}
	g.use(t, url, c.key.Public)
	return g
}

// use writes what nixstatic use would.
func (g *ground) use(t testing.TB, url, key string) {
	t.Helper()
	g.machine.write(t, "home/.config/nix/nix.conf", "extra-substituters = "+url+"\nextra-trusted-public-keys = "+key+"\n")
}

func (g *ground) remove(t testing.TB, pattern string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(g.tree, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// edit changes a file of the tree.
func (g *ground) edit(t testing.TB, pattern string, change func(string) string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(g.tree, pattern))
	if err != nil || len(names) != 1 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], []byte(change(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
}
