//go:build real

package signer

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"errors"
)

func TestAgreesWithNix(t *testing.T) {
	if _, err := exec.LookPath("nix-store"); err != nil {
		t.Fatal("nix-store is not installed; make test installs it")
	}
	dir := t.TempDir()
	secret, public := filepath.Join(dir, "secret"), filepath.Join(dir, "public")
	cmd := exec.Command("nix-store", "--generate-binary-cache-key", "test-1", secret, public)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nix-store: %v\n%s", err, out)
	}
	key, err := LoadSecretKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Public().String(); got != strings.TrimSpace(string(want)) {
		t.Errorf("public half %q, Nix says %q", got, want)
	}
	if err := key.Save(secret); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Save over a key file: %v, want fs.ErrExist", err)
	}
}
