// Package peers gives tests the real programs they talk to: three generations of
// Nix, and the store of Debian packages they work on. tests/setup.sh brings both;
// tests/env.sh says where they are kept.
//
// A peer that is missing fails the test and names the remedy. Nothing is skipped:
// a test that did not run has proved nothing.
package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const remedy = "run `make test` (or tests/setup.sh), which installs it"

// cache returns the folder that tests/env.sh describes.
func cache(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("NIXSTATIC_TEST_CACHE"); dir != "" {
		return dir
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatalf("cannot tell where the test cache is: %v", err)
	}
	return filepath.Join(dir, "nixstatic-tests")
}

// Program returns the path of a program of the machine, such as nginx or xz.
func Program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	// Servers live in sbin, which is not on everybody's PATH.
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Fatalf("no program %s: %s", name, remedy)
	return ""
}

// Act returns the path of act, which runs jobs of GitHub Actions on this machine.
func Act(t testing.TB) string {
	t.Helper()
	path := filepath.Join(cache(t), "act", "act")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no act: %v: %s", err, remedy)
	}
	return path
}
