package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// suites are the Debian releases whose Nix we test with, oldest first.
var suites = []string{"bookworm", "trixie", "sid"}

// A Nix is one version of Nix as one test uses it. It reads no configuration but
// the ground's own: no substituters, no build users, signatures required. Home
// holds what it remembers between commands, the cache of narinfos above all.
type Nix struct {
	Version string // such as 2.34.8
	Home    string // HOME of its commands; a new directory for each test

	bin string
}

// Nixes returns every Nix, oldest first.
func Nixes(t testing.TB) []Nix {
	t.Helper()
	var all []Nix
	for _, suite := range suites {
		all = append(all, fromSuite(t, suite))
	}
	return all
}

// Old returns the oldest Nix, 2.8: the one that is strict about what servers say
// and knows least of what was added since.
func Old(t testing.TB) Nix { t.Helper(); return fromSuite(t, suites[0]) }

// Newest returns the newest Nix that Debian has.
func Newest(t testing.TB) Nix { t.Helper(); return fromSuite(t, suites[len(suites)-1]) }

func fromSuite(t testing.TB, suite string) Nix {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(cache(t), "suites", suite))
	if err != nil {
		t.Fatalf("no Nix from Debian %s: %v: %s", suite, err, remedy)
	}
	return Nix{
		Version: strings.TrimPrefix(filepath.Base(dir), "nix-"),
		Home:    t.TempDir(),
		bin:     filepath.Join(dir, "bin"),
	}
}

// Bin returns the path of one of its programs: nix, nix-store, nix-daemon, ...
func (n Nix) Bin(name string) string { return filepath.Join(n.bin, name) }

// Command returns a command that runs one of its programs, isolated from the
// user's and the machine's Nix, and stopped when the test ends.
func (n Nix) Command(t testing.TB, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), n.Bin(name), args...)
	cmd.WaitDelay = 10 * time.Second
	for _, setting := range os.Environ() {
		key, _, _ := strings.Cut(setting, "=")
		if !strings.HasPrefix(key, "NIX_") && !strings.HasPrefix(key, "XDG_") {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	cmd.Env = append(cmd.Env, "HOME="+n.Home, "LC_ALL=C.UTF-8", "NO_COLOR=1")
	return cmd
}

// Output runs Command and returns its standard output without the final newline;
// the test fails, with what the program said, if the command does.
func (n Nix) Output(t testing.TB, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := n.Command(t, name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("Nix %s: %s %s: %v\n%s", n.Version, name, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}
