//go:build real

package nixstore

import (
	"bytes"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// openDirect opens a store where there is no daemon to be had.
func openDirect(t testing.TB, store string) *Store {
	t.Helper()
	withoutNixEnv(t)
	t.Setenv("PATH", t.TempDir())
	s, err := Open(t.Context(), Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Without a daemon the answers are the daemon's.
func TestDirectInfosAreTheDaemons(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			r := newRelocated(t, nix)
			drvs, _ := r.build(t, "testdata/chain.nix", "top")
			all := storePaths(t, r.storeDir(), strings.Fields(nix.Output(t, "nix-store", "--store", r.uri(), "--query", "--requisites", "--include-outputs", drvs[0].Abs(r.storeDir())))...)
			key := filepath.Join(t.TempDir(), "key")
			nix.Output(t, "nix-store", "--generate-binary-cache-key", "test-1", key, key+".pub")
			nix.Output(t, "nix", "store", "sign", "--store", r.uri(), "-k", key, all[0].Abs(r.storeDir()))
			closure := peers.Closure(t)
			for _, test := range []struct {
				store string
				paths []layout.StorePath
			}{
				{r.uri(), all},
				{closure.Root, storePaths(t, layout.DefaultStoreDir, append(closure.Paths, closure.Paths...)...)},
			} {
				want, err := openWith(t, nix, test.store).Infos(t.Context(), test.paths)
				if err != nil {
					t.Fatal(err)
				}
				s := openDirect(t, test.store)
				got, err := s.Infos(t.Context(), test.paths)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-daemon +direct):\n%s", test.store, diff)
				}
				if err := s.WriteNAR(t.Context(), test.paths[0], new(bytes.Buffer)); err != nil {
					t.Error(err)
				}
				if !s.direct.holds() {
					t.Error("the daemon was needed")
				}
			}
		})
	}
}

// The garbage collectors of all versions respect what is held without a daemon, and
// clear away what a dead process left.
func TestDirectRootsHold(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root := peers.StoreRoot(t)
			held, other := addFile(t, nix, root, "held", "held\n"), addFile(t, nix, root, "other", "other\n")
			gc := func(when string, want bool) {
				t.Helper()
				nix.Output(t, "nix-store", "--store", root, "--gc")
				for p, want := range map[layout.StorePath]bool{held: want, other: false} {
					if _, err := os.Lstat(filepath.Join(root, p.Abs(layout.DefaultStoreDir))); (err == nil) != want {
						t.Errorf("%s, %s is there: %v", when, p, err == nil)
					}
				}
			}
			s := openDirect(t, root)
			if _, err := s.Infos(t.Context(), []layout.StorePath{held}); err != nil {
				t.Fatal(err)
			}
			file := s.direct.roots.file.Name()
			gc("while it is held", true)
			if _, err := os.Stat(file); err != nil {
				t.Errorf("the file of what is held: %v", err)
			}
			// Killed, it would not remove the file.
			s.direct.roots.file.Close()
			gc("when its process is dead", false)
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file of a dead process stays: %v", err)
			}
		})
	}
}

func TestDirectGivesUp(t *testing.T) {
	nix := peers.Newest(t)
	for name, harm := range map[string]func(t *testing.T, state string){
		"a garbage collection": func(t *testing.T, state string) {
			f, err := os.OpenFile(state+"/gc.lock", os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
		},
		"an unknown schema": func(t *testing.T, state string) { write(t, state+"/db/schema", "11") },
		"no database":       func(t *testing.T, state string) { os.Remove(state + "/db/db.sqlite") },
		"a torn database":   func(t *testing.T, state string) { write(t, state+"/db/db.sqlite", strings.Repeat("x", 8192)) },
		"a table of another form": func(t *testing.T, state string) {
			change(t, state, "alter table ValidPaths rename column narSize to size")
		},
		"a hash of another kind": func(t *testing.T, state string) { change(t, state, "update ValidPaths set hash = 'md5:00'") },
		"a size that is not known": func(t *testing.T, state string) {
			change(t, state, "update ValidPaths set narSize = null")
		},
		"a reference elsewhere": func(t *testing.T, state string) {
			change(t, state, "insert into ValidPaths (path, hash, registrationTime) values ('/gnu/store/x', 'sha256:00', 0)",
				"insert into Refs select a.id, b.id from ValidPaths a, ValidPaths b where b.path = '/gnu/store/x' and a.id <> b.id")
		},
		"a text without end": func(t *testing.T, state string) {
			change(t, state, "update ValidPaths set sigs = cast(zeroblob(20000000) as text)")
		},
		"no folder for roots": func(t *testing.T, state string) {
			if err := os.Rename(state+"/temproots", state+"/gone"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := peers.StoreRoot(t)
			p := addFile(t, nix, root, "hello", "hello\n")
			withoutNixEnv(t)
			t.Setenv("PATH", t.TempDir())
			harm(t, filepath.Join(root, "nix/var/nix"))
			s, err := Open(t.Context(), Options{Store: root, Lazy: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			// The question is the daemon's if the program is looked for.
			if _, err := s.Infos(t.Context(), []layout.StorePath{p}); !errors.Is(err, exec.ErrNotFound) {
				t.Errorf("%v, want the daemon to be looked for", err)
			}
		})
	}
}

// A database whose newest records are in the write-ahead log alone, and one that a
// process is about to change.
func TestDirectBesideAWriter(t *testing.T) {
	nix := peers.Newest(t)
	root := peers.StoreRoot(t)
	p := addFile(t, nix, root, "hello", "hello\n")
	state := filepath.Join(root, "nix/var/nix")
	db := opened(t, state)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"pragma wal_autocheckpoint = 0", "insert into ValidPaths (path, hash, registrationTime, narSize) values ('/nix/store/00000000000000000000000000000000-new', 'sha256:" + strings.Repeat("0", 64) + "', 0, 1)"} {
		if _, err := tx.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	fresh := layout.StorePath("00000000000000000000000000000000-new")
	s := openDirect(t, root)
	if _, err := s.Infos(t.Context(), []layout.StorePath{p}); err != nil {
		t.Errorf("beside a writer: %v", err)
	}
	if _, err := s.Infos(t.Context(), []layout.StorePath{fresh}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the writer is done: %v, want fs.ErrNotExist", err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(state + "/db/db.sqlite-wal"); err != nil || st.Size() == 0 {
		t.Fatalf("no write-ahead log: %v", err)
	}
	if _, err := s.Infos(t.Context(), []layout.StorePath{p, fresh}); err != nil {
		t.Errorf("after that: %v", err)
	}
	if !s.direct.holds() {
		t.Error("the daemon was needed")
	}
}

func opened(t *testing.T, state string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", state+"/db/db.sqlite")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func change(t *testing.T, state string, statements ...string) {
	t.Helper()
	db := opened(t, state)
	for _, text := range statements {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
