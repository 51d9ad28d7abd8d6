//go:build linux

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

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A scenario is a run of nixstatic that changes a tree.
type scenario struct {
	name string
	// tree is in the folder of the run; "" for "tree".
	tree string
	// before makes the folder as the run finds it; nil for an empty one.
	before func(t testing.TB, p runner, dir string)
	// args are those of the run in a folder; and of the next run that comes to
	// sweep, where the same run again would not.
	args, after func(t testing.TB, dir string) []string
	lacks       map[uint64]unix.Errno     // see watch
	want        func(testing.TB) []string // files that must be there in the end
	demand      func(testing.TB) []string // flags of verify in the end
	brief       bool                      // only kills, and failures of calls that change names
}

// scenarios are the runs that every fault is tried on.
func scenarios(t testing.TB) []scenario {
	c := small(t)
	key := signingKey(t)
	fromCache := func(t testing.TB, dir string) []string {
		return []string{"export", "--from", c.Cache, "--no-check-sigs", "--logs", "--debug-info", "--to", filepath.Join(dir, "tree"), c.Top}
	}
	exported := func(t testing.TB, p runner, dir string) {
		p.Output(t, fromCache(t, dir)...)
	}
	records := func(testing.TB) []string {
		return append(c.records(), "log/"+deriver, "debuginfo/"+buildID, "debuginfo/"+buildID+".debug")
	}
	signed := func(testing.TB) []string { return []string{"--trusted-public-key", key.Public} }
	files := addedFiles(t)
	return []scenario{{
		name: "init",
		tree: "new/folder/tree",
		args: func(_ testing.TB, dir string) []string {
			return []string{"init", filepath.Join(dir, "new/folder/tree")}
		},
		want: func(testing.TB) []string { return nil },
	}, {
		name: "export from a cache",
		args: fromCache,
		want: records,
	}, {
		name: "export from a store",
		args: func(_ testing.TB, dir string) []string {
			return []string{"export", "--store", c.Root, "--logs", "--debug-info", "-k", key.File, "--to", filepath.Join(dir, "tree"), c.Top}
		},
		want:   records,
		demand: signed,
		brief:  true,
	}, {
		// As on file systems that cannot rename without replacing: NFS, FAT.
		name:  "export where files are linked into place",
		args:  fromCache,
		lacks: map[uint64]unix.Errno{unix.SYS_RENAMEAT2: unix.EINVAL},
		want:  records,
		brief: true,
	}, {
		name:   "export again with another compression",
		before: exported,
		args: func(t testing.TB, dir string) []string {
			return append(fromCache(t, dir), "--force", "--compression", "gzip", "-k", key.File)
		},
		want:   records,
		demand: signed,
	}, {
		name: "add",
		args: func(_ testing.TB, dir string) []string {
			return append([]string{"add", "-k", key.File, "--to", filepath.Join(dir, "tree")}, files.sources...)
		},
		want:   func(testing.TB) []string { return files.records },
		demand: signed,
	}, {
		name:   "sign",
		before: exported,
		args: func(_ testing.TB, dir string) []string {
			return []string{"sign", "-k", key.File, filepath.Join(dir, "tree")}
		},
		want:   records,
		demand: signed,
		after: func(_ testing.TB, dir string) []string {
			// There may be nothing left to sign, and then nothing is written or swept.
			return []string{"init", filepath.Join(dir, "tree")}
		},
	}}
}

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
func (p runner) verify(t testing.TB, tree string, notes []string, flags ...string) verdict {
	t.Helper()
	r := p.Run(t, append([]string{"verify", "--deep", "--json", tree}, flags...)...)
	var v verdict
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil || r.Code != 0 {
		t.Fatalf("verify: exit code %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
	}
	if len(v.Problems) > 0 || len(v.Unknown) > 0 {
		t.Fatalf("verify ends with code 0 and finds\n%s", r.Stdout)
	}
	for _, note := range v.Notes {
		if !slices.Contains(notes, note.Kind) {
			t.Errorf("verify notes %s %s: %s", note.Kind, note.Key, note.Detail)
		}
	}
	return v
}

// sound checks the tree at some instant: it is none yet, or has no problems.
func (p runner) sound(t testing.TB, tree string) {
	t.Helper()
	have := names(t, tree)
	if slices.Contains(have, "nix-cache-info") {
		p.verify(t, tree, leftovers)
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
		if rest, private := strings.CutPrefix(name, ".nixstatic/"); private && rest != "lock" {
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
