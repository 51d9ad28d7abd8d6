//go:build real

package client_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestDoctorRemembered has every Nix remember an answer that is true no more. The
// doctor finds it by the Nix's own database, and the command that it names cures it.
func TestDoctorRemembered(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	for _, nix := range peers.Nixes(t) {
		plant := func(fault string, before, after func(t *testing.T, g *ground), cured bool) {
			t.Helper()
			t.Run(nix.Version+"/"+fault, func(t *testing.T) {
				g := newGround(t, c)
				m := newMachine(t, nix)
				g.person = m.root()
				g.use(t, g.url, c.key.Public)
				before(t, g)
				ask := []string{"--extra-experimental-features", "nix-command", "path-info", "--json", "--store", g.url, c.path}
				g.as(t, nix.Command(t, "nix", ask...)).Run() // absence is an error for some
				after(t, g)
				cure := g.ills(t, fault, g.url, c.path)
				if fault == "remembered-absent" {
					cure = g.ills(t, fault, g.url)
					g.fetchesNot(t, c.path)
				}
				command, ok := strings.CutPrefix(cure, "nix ")
				if !ok {
					t.Fatalf("the cure is %q", cure)
				}
				if out, err := g.as(t, nix.Command(t, "nix", strings.Fields(command)...)).CombinedOutput(); err != nil && cured {
					t.Errorf("%s: %v\n%s", cure, err, out)
				}
				if !cured {
					return
				}
				g.healthy(t, g.url, c.path)
				g.fetches(t, c.path)
			})
		}
		nothing := func(*testing.T, *ground) {}
		var aside string
		plant("remembered-absent", func(t *testing.T, g *ground) {
			aside = t.TempDir()
			move(t, filepath.Join(g.tree, "*.narinfo"), aside)
		}, func(t *testing.T, g *ground) { move(t, filepath.Join(aside, "*.narinfo"), g.tree) }, true)
		plant("remembered-unsigned", func(t *testing.T, g *ground) {
			g.edit(t, "*.narinfo", func(s string) string { return s[:strings.Index(s, "Sig:")] })
		}, func(t *testing.T, g *ground) {
			nixtest.Program{Nix: nix}.Output(t, "sign", g.tree, "-k", c.key.File)
		}, true)
		plant("remembered-outdated", nothing, func(t *testing.T, g *ground) {
			g.remove(t, "nar/*")
			store := peers.Closure(t)
			nixtest.Program{Nix: nix}.Output(t, "export", "--store", store.Root, "--to", g.tree, "-k", c.key.File, "--compression", "xz", "--force", c.path)
		}, true)
		t.Run(nix.Version+"/remembered-present", func(t *testing.T) {
			g := newGround(t, c)
			g.person = newMachine(t, nix).root()
			g.use(t, g.url, c.key.Public)
			g.as(t, nix.Command(t, "nix", "--extra-experimental-features", "nix-command", "path-info", "--store", g.url, c.path)).Run()
			g.remove(t, "*.narinfo")
			d := g.doctor(t, g.url, c.path)
			if got := d.faults(); len(got) != 2 || got[0] != "not-there" || got[1] != "remembered-present" {
				t.Errorf("%q", got)
			}
			// The database is as it was, to the last file.
			files, err := os.ReadDir(g.machine.path("home/.cache/nix"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if strings.HasSuffix(file.Name(), "-shm") {
					t.Errorf("left behind: %s", file.Name())
				}
			}
		})
	}
}

func move(t testing.TB, pattern, to string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", "mv "+pattern+" "+to).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
