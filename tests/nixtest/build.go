package nixtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const command = "github.com/nixstatic/nixstatic/cmd/nixstatic"

// buildFlags are those of `make build`; a test compares them.
var buildFlags = []string{"-trimpath", "-ldflags", "-s -w"}

// processDir lives as long as the test process, see Main.
var processDir string

// Main runs the tests of a package and removes what they shared.
func Main(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "nixtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make the directory that tests share:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	processDir = dir
	return m.Run()
}

// SharedDir returns a new directory that later tests of the process may use as
// well: t.TempDir ends with its test.
func SharedDir(t testing.TB, name string) string {
	t.Helper()
	if processDir == "" {
		t.Fatal("no shared directory: TestMain must call nixtest.Main")
	}
	dir, err := os.MkdirTemp(processDir, name+"-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Binary returns the path of nixstatic, built once for the process.
func Binary(t testing.TB) string {
	t.Helper()
	return tagged(t, "")
}

// tagged returns the path of nixstatic with build tags, which no program that is shipped
// has. It is built once for the process.
func tagged(t testing.TB, tags string) string {
	t.Helper()
	if processDir == "" {
		t.Fatal("nowhere to build nixstatic: TestMain must call nixtest.Main")
	}
	binaries.Lock()
	defer binaries.Unlock()
	if path, built := binaries.of[tags]; built {
		return path
	}
	path := filepath.Join(processDir, "bin"+tags, "nixstatic")
	cmd := exec.Command("go", append(append([]string{"build", "-tags", tags}, buildFlags...), "-o", path, command)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build nixstatic: %v\n%s", err, out)
	}
	binaries.of[tags] = path
	return path
}

var binaries = struct {
	sync.Mutex
	of map[string]string // by tags
}{of: map[string]string{}}

// Source returns the path of a file of the checkout, named relative to its root.
func Source(t testing.TB, name string) string {
	t.Helper()
	dir, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

var moduleRoot = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the root of the checkout: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
})
