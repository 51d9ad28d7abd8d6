//go:build real

package builders_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
		AllServe, AllPush                 string // with every option
		AllHook                           map[string]any
		Wrong                             []bool
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
	for _, want := range []string{"ExecStart='/opt/other/bin/nixstatic' 'serve' '/var/lib/nixstatic/b' '--listen' ':1' '--listen' 'unix:/run/nixstatic/socket' " +
		"'--oidc' 'issuer=https://a' '--upstream' 'https://cache.nixos.org' '--gc' '6h' '--private' '--metrics-listen' '127.0.0.1:9180' --secret-key-file %d/key-0\n",
		"ExecStartPre=/opt/other/bin/nixstatic init '/var/lib/nixstatic/b'\n", "EnvironmentFile=/e\n"} {
		if !strings.Contains(got.AllServe, want) {
			t.Errorf("with every option, the unit of the server has no %q:\n%s", want, got.AllServe)
		}
	}
	if want := "ExecStart='/opt/other/bin/nixstatic' 'watch' 's3://b?region=$$HOME' '--queue' '/var/lib/nixstatic-push/queue' '--store' '--root' 'builders/alpha' " +
		"'--exclude' 'a' '--exclude' 'b' '--upstream' 'https://cache.nixos.org' '--jobs' '2'\n"; !strings.Contains(got.AllPush, want) || strings.Contains(got.AllPush, "LoadCredential") || len(got.AllHook) != 0 {
		t.Errorf("with every option, the unit of the sender is\n%s\nand Nix has %v", got.AllPush, got.AllHook)
	}
	if len(got.Wrong) < 7 || slices.Contains(got.Wrong, true) {
		t.Errorf("wrong options evaluate: %v", got.Wrong)
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
	verifyUnit(t, "nixstatic.service", strings.ReplaceAll(got.AllServe, "/opt/other/bin/nixstatic", nixtest.Binary(t)))
	verifyUnit(t, "nixstatic-push.service", strings.ReplaceAll(got.AllPush, "/opt/other/bin/nixstatic", nixtest.Binary(t)))
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

// The units of the examples are what systemd takes: all of them, side by side.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	all, err := filepath.Glob(nixtest.Source(t, "examples/systemd/*.*"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"verify", "--man=no"}
	for _, name := range all {
		if name = filepath.Base(name); name == "README.md" {
			continue
		}
		text := strings.ReplaceAll(nixtest.Example(t, "systemd/"+name), "/usr/local/bin/nixstatic", nixtest.Binary(t))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, filepath.Join(dir, name))
	}
	if len(args) != 2+5 {
		t.Fatalf("the units are %q", args)
	}
	out, err := exec.CommandContext(t.Context(), peers.Program(t, "systemd-analyze"), args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "nixstatic") {
		t.Errorf("systemd-analyze %q: %v\n%s", args, err, out)
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
