//go:build real

package builders_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The modules of NixOS and the flake evaluate, and the units are what systemd takes.
func TestNixOS(t *testing.T) {
	nix := peers.Newest(t)
	var got struct {
		Serve, Push, Hook, Overlay, Check string
		Off                               map[string]any
		Package                           struct {
			Pname, VendorHash string
			SubPackages       []string
		}
		Systems, NixosModules []string
	}
	source := filepath.Dir(nixtest.Source(t, "flake.nix"))
	text := nix.Output(t, "nix-instantiate", "--eval", "--strict", "--json", "testdata/nixos/eval.nix", "--arg", "source", source)
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"'serve' 's3://bucket?x=100%%' '--listen' '127.0.0.1:8080' '--oidc' 'issuer=https://forge.example.org", "--secret-key-file %d/key-0 --secret-key-file %d/key-1",
		"LoadCredential=key-1:/etc/nixstatic/b.key\n", "EnvironmentFile=/etc/nixstatic/s3\n"} {
		if !strings.Contains(got.Serve, want) {
			t.Errorf("the unit of the server has no %q:\n%s", want, got.Serve)
		}
	}
	for _, want := range []string{"'watch' 'https://cache.example.org/upload' '--queue' '/var/lib/nixstatic-push/queue' '--exclude' ", "--netrc-file %d/netrc\n"} {
		if !strings.Contains(got.Push, want) {
			t.Errorf("the unit of the sender has no %q:\n%s", want, got.Push)
		}
	}
	if got.Hook != "/opt/nixstatic-hook" || len(got.Off) != 0 {
		t.Errorf("the hook is %q; switched off, the modules set %v", got.Hook, got.Off)
	}
	if got.Package.Pname != "nixstatic" || got.Overlay != "nixstatic" || !strings.Contains(got.Check, "verify") || len(got.Systems) != 3 {
		t.Errorf("the flake is %+v", got)
	}
	if diff := cmp.Diff([]string{"default", "nixstatic", "nixstatic-push"}, got.NixosModules); diff != "" {
		t.Error(diff)
	}
	verifyUnit(t, "nixstatic.service", strings.ReplaceAll(got.Serve, "/opt/nixstatic/bin/nixstatic", nixtest.Binary(t)))
	verifyUnit(t, "nixstatic-push.service", strings.ReplaceAll(got.Push, "/opt/nixstatic/bin/nixstatic", nixtest.Binary(t)))

	// The flake names the hash of all modules: buildGoModule refuses others.
	if want := vendorHash(t, nix, source); got.Package.VendorHash != want {
		t.Errorf("flake.nix has the vendorHash %s; with the modules of go.mod it has to be %s", got.Package.VendorHash, want)
	}
}

func vendorHash(t *testing.T, nix peers.Nix, source string) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"sh", "-c", "git -C '" + source + "' ls-files -z '*.go' '*go.mod' '*go.sum' | tar -C '" + source + "' -c --null -T - | tar -x -C " + dir},
		{"go", "mod", "vendor"},
	} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	return nix.Output(t, "nix", "--extra-experimental-features", "nix-command", "hash", "path", "--sri", filepath.Join(dir, "vendor"))
}

// The units of the examples are what systemd takes.
func TestUnits(t *testing.T) {
	for _, name := range []string{"nixstatic.service", "nixstatic-gc.service", "nixstatic-push.service"} {
		verifyUnit(t, name, nixtest.Example(t, "systemd/"+name, "/usr/local/bin/nixstatic", nixtest.Binary(t)))
	}
}

func verifyUnit(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if name == "nixstatic.service" {
		socket := nixtest.Example(t, "systemd/nixstatic.socket")
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), "nixstatic.socket"), []byte(socket), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), peers.Program(t, "systemd-analyze"), "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("systemd-analyze verify %s: %v\n%s\n%s", name, err, out, text)
	}
}
