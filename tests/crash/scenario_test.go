//go:build linux && real

package crash

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
	between     []string                  // kinds of problems and notes that the tree may have before the run is complete
}

// scenarios are the runs that every fault is tried on.
func scenarios(t testing.TB) []scenario {
	c := small(t)
	key := signingKey(t)
	fromCache := func(t testing.TB, dir string) []string {
		return []string{"export", "--from", c.Cache, "--no-check-sigs", "--logs", "--debug-info", "--to", filepath.Join(dir, "tree"), c.Top}
	}
	other := otherBuild(t)
	fromOther := func(dir string) []string {
		return []string{"export", "--from", other.Cache, "--no-check-sigs", "--to", filepath.Join(dir, "tree"), other.Top}
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
			return []string{"init", "--no-page", filepath.Join(dir, "new/folder/tree")}
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
		// A build that came out differently, and was on its way when all ended.
		name: "export over what another build left",
		before: func(t testing.TB, p runner, dir string) {
			p.Output(t, fromOther(dir)...)
			for _, path := range c.Paths {
				if err := os.Remove(filepath.Join(dir, "tree", hashOf(path)+".narinfo")); err != nil {
					t.Fatal(err)
				}
			}
		},
		args:  fromCache,
		want:  records,
		brief: true,
	}, {
		name:   "export again what was built again",
		before: func(t testing.TB, p runner, dir string) { p.Output(t, fromOther(dir)...) },
		args: func(t testing.TB, dir string) []string {
			return append(fromCache(t, dir), "--force")
		},
		want:  records,
		brief: true,
		// Listing and record are two files, and neither goes with the other build:
		// for a moment they differ. Nix does not read listings.
		between: []string{"listing-differs"},
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
			return []string{"init", "--no-page", filepath.Join(dir, "tree")}
		},
	}, {
		// It goes the way of an export from a cache, so that a single path is enough.
		name: "bundle apply",
		before: func(t testing.TB, p runner, dir string) {
			p.Output(t, "bundle", "create", "--logs", "-o", filepath.Join(dir, "b.tar"), c.Cache, c.named("base"))
		},
		args: func(_ testing.TB, dir string) []string {
			return []string{"bundle", "apply", filepath.Join(dir, "b.tar"), filepath.Join(dir, "tree"), "--no-check-sigs", "-k", key.File}
		},
		want:   func(testing.TB) []string { return c.recordsOf("base") },
		demand: signed,
		brief:  true,
	}, {
		name:   "adopt",
		before: func(t testing.TB, _ runner, dir string) { c.foreign(t, filepath.Join(dir, "tree"), "base", "lib") },
		args: func(_ testing.TB, dir string) []string {
			return []string{"adopt", "-k", key.File, filepath.Join(dir, "tree")}
		},
		want:   func(testing.TB) []string { return c.recordsOf("base", "lib") },
		demand: signed,
		brief:  true,
		// It is what the other program left as long as it is not adopted.
		between: []string{"missing-listing", "no-file-hash"},
	}}
}
