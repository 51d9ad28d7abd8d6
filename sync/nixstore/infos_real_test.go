//go:build real

package nixstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// The daemons of three generations must say what nix path-info says.
func TestInfosAreNixs(t *testing.T) {
	store := peers.Closure(t)
	want := pathInfos(t, peers.Old(t), store)
	paths := storePaths(t, layout.DefaultStoreDir, store.Paths...)
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			s := openWith(t, nix, store.Root)
			if got := s.roots.conn.nix; got != nix.Version {
				t.Errorf("the daemon is of Nix %q", got)
			}
			if got := s.StoreDir(); got != layout.DefaultStoreDir {
				t.Errorf("store directory %s", got)
			}
			shuffled := slices.Clone(paths)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			// Several times over, so that more are under way than are asked ahead.
			for len(shuffled) < 2500 {
				shuffled = append(shuffled, shuffled...)
			}
			infos, err := s.Infos(t.Context(), shuffled)
			if err != nil {
				t.Fatal(err)
			}
			for i, info := range infos {
				if diff := cmp.Diff(want[shuffled[i]], info, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("answer %d (-nix path-info +ours):\n%s", i, diff)
				}
			}
		})
	}
}

// pathInfos asks nix path-info, in the form that Nix 2.8 has.
func pathInfos(t *testing.T, nix peers.Nix, store peers.Store) map[layout.StorePath]layout.PathInfo {
	t.Helper()
	var list []struct {
		Path, NarHash, Deriver, CA string
		NarSize                    int64
		References, Signatures     []string
	}
	text := nix.Output(t, "nix", "path-info", "--json", "--all", "--store", store.Root)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	infos := map[layout.StorePath]layout.PathInfo{}
	for _, item := range list {
		p := storePaths(t, layout.DefaultStoreDir, item.Path)[0]
		hash, err := layout.ParseHash(item.NarHash)
		if err != nil {
			t.Fatal(err)
		}
		info := layout.PathInfo{
			Path: p, NarHash: hash, NarSize: item.NarSize, CA: item.CA,
			References: storePaths(t, layout.DefaultStoreDir, item.References...),
		}
		if item.Deriver != "" {
			info.Deriver = storePaths(t, layout.DefaultStoreDir, item.Deriver)[0]
		}
		slices.Sort(info.References)
		info.AddSigs(item.Signatures...)
		infos[p] = info
	}
	return infos
}

func TestSignaturesAndBytes(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root := peers.StoreRoot(t)
			p := addFile(t, nix, root, "hello", "hello\n")
			key := filepath.Join(t.TempDir(), "key")
			nix.Output(t, "nix-store", "--generate-binary-cache-key", "test-1", key, key+".pub")
			nix.Output(t, "nix", "store", "sign", "--store", root, "-k", key, p.Abs(layout.DefaultStoreDir))
			s := openWith(t, nix, root)
			infos, err := s.Infos(t.Context(), []layout.StorePath{p})
			if err != nil {
				t.Fatal(err)
			}
			if sigs := infos[0].Sigs; len(sigs) != 1 || !strings.HasPrefix(sigs[0], "test-1:") {
				t.Errorf("signatures %q", sigs)
			}
			var nar bytes.Buffer
			if err := s.WriteNAR(t.Context(), p, &nar); err != nil {
				t.Fatal(err)
			}
			want := nix.Output(t, "nix-store", "--store", root, "--dump", filepath.Join(root, p.Abs(layout.DefaultStoreDir))) + "\n"
			if got := nar.String(); got != want && got != strings.TrimSuffix(want, "\n") {
				t.Errorf("the NAR differs from nix-store --dump")
			}
			if int64(nar.Len()) != infos[0].NarSize {
				t.Errorf("NAR of %d bytes, want %d", nar.Len(), infos[0].NarSize)
			}
		})
	}
}

func TestNotValid(t *testing.T) {
	const absent = layout.StorePath("00000000000000000000000000000000-absent")
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root := peers.StoreRoot(t)
			p := addFile(t, nix, root, "hello", "hello\n")
			s := openWith(t, nix, root)
			// On disk but not in the database: an upload under way, or left over.
			stray := layout.StorePath("11111111111111111111111111111111-stray")
			if err := os.WriteFile(s.real(stray), []byte("x"), 0o444); err != nil {
				t.Fatal(err)
			}
			for _, q := range []layout.StorePath{absent, stray} {
				_, err := s.Infos(t.Context(), []layout.StorePath{p, q, p})
				if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), string(q)) {
					t.Errorf("Infos of %s: %v, want fs.ErrNotExist with its name", q, err)
				}
				if err := s.WriteNAR(t.Context(), q, new(bytes.Buffer)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("WriteNAR of %s: %v, want fs.ErrNotExist", q, err)
				}
			}
			if _, err := s.Infos(t.Context(), []layout.StorePath{p}); err != nil {
				t.Errorf("after refusals: %v", err)
			}
		})
	}
}

// A garbage collection while a Store is open deletes what the Store was not asked
// about, and nothing else; once it is closed the rest goes.
func TestRootsHold(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root := peers.StoreRoot(t)
			held, other := addFile(t, nix, root, "held", "held\n"), addFile(t, nix, root, "other", "other\n")
			s := openWith(t, nix, root)
			if _, err := s.Infos(t.Context(), []layout.StorePath{held}); err != nil {
				t.Fatal(err)
			}
			gc := func(want ...layout.StorePath) {
				t.Helper()
				nix.Output(t, "nix-store", "--store", root, "--gc")
				for _, p := range []layout.StorePath{held, other} {
					_, err := os.Lstat(s.real(p))
					if there := err == nil; there != slices.Contains(want, p) {
						t.Errorf("%s is there: %v", p, there)
					}
				}
			}
			gc(held)
			s.Close()
			gc()
		})
	}
}

// When the daemon dies the next call finds another, and the roots are there again.
func TestDaemonKilled(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root := peers.StoreRoot(t)
			held, later := addFile(t, nix, root, "held", "held\n"), addFile(t, nix, root, "later", "later\n")
			dir := t.TempDir()
			program := filepath.Join(dir, "daemon")
			script := "#!/bin/sh\necho $$ >" + dir + "/pid\nexec " + nix.Bin("nix-daemon") + ` "$@"` + "\n"
			if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			withoutNixEnv(t)
			s, err := Open(t.Context(), Options{Store: root, Daemon: program})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Infos(t.Context(), []layout.StorePath{held}); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(dir + "/pid")
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := s.WriteNAR(t.Context(), held, new(bytes.Buffer)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Infos(t.Context(), []layout.StorePath{later}); err != nil {
				t.Fatal(err)
			}
			nix.Output(t, "nix-store", "--store", root, "--gc")
			for _, p := range []layout.StorePath{held, later} {
				if err := s.WriteNAR(t.Context(), p, new(bytes.Buffer)); err != nil {
					t.Errorf("after a new daemon and a garbage collection: %v", err)
				}
			}
		})
	}
}

// A daemon behind a socket, as on most machines.
func TestSocket(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			root, socket := peers.StoreRoot(t), filepath.Join(t.TempDir(), "s")
			p := addFile(t, nix, root, "hello", "hello\n")
			daemon := nix.Command(t, "nix-daemon", "--store", root)
			daemon.Env = append(daemon.Env, "NIX_DAEMON_SOCKET_PATH="+socket)
			if err := daemon.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { daemon.Process.Kill(); daemon.Wait() }()
			withoutNixEnv(t)
			for _, o := range []Options{{Store: "unix://" + socket + "?root=" + root}, {Store: "unix://" + socket + "?real=" + root + "/nix/store"}} {
				s, err := Open(t.Context(), o)
				for tries := 0; err != nil && tries < 1000; tries++ { // it is not up yet
					time.Sleep(20 * time.Millisecond)
					s, err = Open(t.Context(), o)
				}
				if err != nil {
					t.Fatal(err)
				}
				var nar bytes.Buffer
				if err := s.WriteNAR(t.Context(), p, &nar); err != nil || nar.Len() == 0 {
					t.Errorf("NAR of %d bytes, %v", nar.Len(), err)
				}
				s.Close()
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	store := peers.Closure(t)
	s := openWith(t, peers.Newest(t), store.Root)
	paths := storePaths(t, layout.DefaultStoreDir, store.Paths...)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 1 {
				go cancel() // somewhere in the middle of it
			}
			infos, err := s.Infos(ctx, paths)
			if err != nil {
				if i%2 == 0 || !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				return
			}
			for j, info := range infos {
				if info.Path != paths[j] {
					t.Errorf("answer %d is for %s", j, info.Path)
				}
			}
		})
		wg.Go(func() {
			if err := s.WriteNAR(t.Context(), paths[i], new(bytes.Buffer)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s.Close()
	if _, err := s.Infos(t.Context(), paths[:1]); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v, want fs.ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// The cost of a path, pipelined, with its root: mostly the daemon's.
func BenchmarkInfos(b *testing.B) {
	store := peers.Closure(b)
	paths := storePaths(b, layout.DefaultStoreDir, store.Paths...)
	for len(paths) < 20_000 {
		paths = append(paths, paths...)
	}
	for _, nix := range peers.Nixes(b) {
		b.Run(nix.Version, func(b *testing.B) {
			s := openWith(b, nix, store.Root)
			for b.Loop() {
				if _, err := s.Infos(b.Context(), paths); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(paths)), "µs/path")
		})
	}
}
