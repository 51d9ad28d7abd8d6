//go:build linux && real

package crash

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A runner runs nixstatic beside the oldest Nix.
type runner struct{ nixtest.Program }

func newRunner(t testing.TB) runner { return runner{nixtest.Program{Nix: peers.Old(t)}} }

// scratch returns a folder in memory if there is one: what is tested with it
// does not depend on the disk, and waits for it thousands of times otherwise.
func scratch(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "nixstatic-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A verdict is what verify --json says.
type verdict struct {
	Paths    int
	Problems []finding
	Notes    []finding
	Unknown  []string
}

type finding struct{ Kind, Key, Detail string }

// leftovers are the notes that a fault may cause.
var leftovers = []string{"unreferenced-nar", "unreferenced-listing", "unfinished-file", "dangling-realisation"}

// verify has nixstatic check every byte of the tree, which must have no
// problems, and no notes but the kinds given.
func (p runner) verify(t testing.TB, tree string, notes []string, flags ...string) {
	t.Helper()
	p.verdict(t, tree, notes, nil, flags...)
}

// verdict is verify where some kinds of problems are to be expected.
func (p runner) verdict(t testing.TB, tree string, notes, problems []string, flags ...string) {
	t.Helper()
	r := p.Run(t, append([]string{"verify", "--deep", "--json", tree}, flags...)...)
	var v verdict
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatalf("verify: exit code %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	code := 0
	if len(v.Problems) > 0 {
		code = 3
	}
	if r.Code != code || len(v.Unknown) > 0 {
		t.Fatalf("verify ends with code %d, having found\n%s", r.Code, r.Stdout)
	}
	for _, problem := range v.Problems {
		if !slices.Contains(problems, problem.Kind) {
			t.Errorf("verify finds %s %s: %s", problem.Kind, problem.Key, problem.Detail)
		}
	}
	for _, note := range v.Notes {
		if !slices.Contains(notes, note.Kind) {
			t.Errorf("verify notes %s %s: %s", note.Kind, note.Key, note.Detail)
		}
	}
}

// sound checks the tree at some instant: it is none yet, or has no problems and notes but
// those of the kinds given.
func (p runner) sound(t testing.TB, tree string, problems ...string) {
	t.Helper()
	have := names(t, tree)
	if slices.Contains(have, "nix-cache-info") {
		p.verdict(t, tree, append(problems, leftovers...), problems)
		return
	}
	for _, name := range have {
		if !strings.HasPrefix(name, ".nixstatic/") {
			t.Errorf("%s is there before nix-cache-info", name)
		}
	}
}

// complete checks the tree after a run that succeeded: all is there, and
// nothing is left in staging.
func (p runner) complete(t testing.TB, tree string, s scenario) {
	t.Helper()
	var demands []string
	if s.demand != nil {
		demands = s.demand(t)
	}
	p.verify(t, tree, []string{"unreferenced-nar"}, demands...)
	have := names(t, tree)
	for _, want := range s.want(t) {
		if !slices.Contains(have, want) {
			t.Errorf("%s is not there after a run that succeeded", want)
		}
	}
	for _, name := range have {
		if rest, private := strings.CutPrefix(name, ".nixstatic/"); private && !slices.Contains([]string{"lock", "gc/lock", "sync.lock"}, rest) {
			t.Errorf("%s is left after a run that succeeded", name)
		}
	}
	staging, err := os.ReadDir(filepath.Join(tree, ".nixstatic/staging"))
	if err != nil {
		t.Error(err)
	}
	for _, entry := range staging {
		t.Errorf("the staging folder %s is left after a run that succeeded", entry.Name())
	}
}

// names lists the files in a directory that may not be there, in order. Files
// may go meanwhile.
func names(t testing.TB, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(dir, name)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
