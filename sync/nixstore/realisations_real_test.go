//go:build real

package nixstore

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/tests/peers"
)

const derivations = "testdata/derivations.nix"

func derivationsFile(t testing.TB) string {
	t.Helper()
	file, err := filepath.Abs(derivations)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// realisationsOf returns the realisations of everything that is valid in the store
// but derivations, by key.
func realisationsOf(t testing.TB, s *Store) map[layout.Key]layout.Realisation {
	t.Helper()
	entries, err := os.ReadDir(s.realDir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[layout.Key]layout.Realisation{}
	for _, entry := range entries {
		p, err := layout.ParseStorePath(entry.Name())
		if err != nil || p.IsDerivation() {
			continue // .links and the like
		}
		infos, err := s.Infos(t.Context(), []layout.StorePath{p})
		if err != nil {
			t.Fatal(err)
		}
		list, err := s.Realisations(t.Context(), infos[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			objects, err := r.Objects()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				found[o.Key] = r
			}
		}
	}
	return found
}

func objectText(t testing.TB, r layout.Realisation, key layout.Key) string {
	t.Helper()
	text, ok := treetest.Texts(t, r)[key]
	if !ok {
		t.Fatalf("no object %s", key)
	}
	return text
}

// TestRealisationsAreNixs: Realisations finds all that nix copy writes to
// realisations/, byte for byte.
func TestRealisationsAreNixs(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			store := newRelocated(t, nix)
			store.build(t, derivationsFile(t), "base", "mid", "top", "deferred")
			cache := t.TempDir()
			nix.Output(t, "nix", "copy", "--store", store.uri(), "--to", "file://"+cache+"?store="+store.storeDir(),
				"--file", derivationsFile(t), "base", "mid", "top", "deferred")
			files, err := filepath.Glob(cache + "/realisations/*")
			if err != nil || len(files) < 5 {
				t.Fatalf("nix copy wrote %d realisations, %v: too few for the comparison to mean something", len(files), err)
			}

			s := openWith(t, nix, store.uri())
			got := realisationsOf(t, s)
			traces := map[string]bool{}
			for _, file := range files {
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				key := layout.Key("realisations/" + filepath.Base(file))
				r, ok := got[key]
				if !ok {
					t.Errorf("not found: %s, %s", key, want)
					continue
				}
				if diff := cmp.Diff(string(want), objectText(t, r, key)); diff != "" {
					t.Errorf("%s (-Nix +ours):\n%s", key, diff)
				}
			}
			// In the later form there is one object for each output, under its resolved
			// derivation, which is the deriver that Nix itself notes for the path.
			for key, r := range got {
				if !strings.HasPrefix(string(key), "build-trace-v2/") {
					continue
				}
				infos, err := s.Infos(t.Context(), []layout.StorePath{r.OutPath})
				if err != nil {
					t.Fatal(err)
				}
				if r.DrvPath != infos[0].Deriver {
					t.Errorf("%s: the deriver is %s", key, infos[0].Deriver)
				}
				traces[r.OutPath.Name()] = true
			}
			if diff := cmp.Diff([]string{"base", "base-dev", "mid", "top"}, slices.Sorted(maps.Keys(traces))); diff != "" {
				t.Errorf("paths with an object in the later form (-want +got):\n%s", diff)
			}
		})
	}
}

// Realisations that we found, signed and wrote are good for what clients do with
// them: nix copy, which registers only those with a trusted signature, and
// substitution by a client that cannot build.
func TestRealisationsSubstitute(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			store := newRelocated(t, nix)
			file := derivationsFile(t)
			_, outs := store.build(t, file, "top", "deferred")
			keyFile := filepath.Join(t.TempDir(), "key")
			nix.Output(t, "nix-store", "--generate-binary-cache-key", "test-1", keyFile, keyFile+".pub")
			public, err := os.ReadFile(keyFile + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			key, err := signer.LoadSecretKey(keyFile)
			if err != nil {
				t.Fatal(err)
			}
			cache := t.TempDir()
			for _, out := range outs { // by path, so that Nix writes no realisations
				nix.Output(t, "nix", "copy", "--store", store.uri(), out.Abs(store.storeDir()),
					"--to", "file://"+cache+"?secret-key="+keyFile+"&store="+store.storeDir())
			}
			found := realisationsOf(t, openWith(t, nix, store.uri()))
			write := func(keys ...signer.SecretKey) {
				for name, r := range found {
					if err := r.Sign(keys...); err != nil {
						t.Fatal(err)
					}
					target := filepath.Join(cache, string(name))
					if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(target, []byte(objectText(t, r, name)), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			// Each client has a store of its own with the same logical directory.
			client := func(nix peers.Nix, program string, args ...string) (string, error) {
				t.Helper()
				other := newRelocated(t, nix)
				uri := strings.ReplaceAll(other.uri(), "store="+other.storeDir(), "store="+store.storeDir())
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "URI", uri)
				}
				nix.Home = t.TempDir() // where answers are remembered
				args = append(args, "--option", "trusted-public-keys", strings.TrimSpace(string(public)))
				out, err := nix.Command(t, program, args...).CombinedOutput()
				if deferred := outs[1]; err == nil {
					if _, err := os.Lstat(other.storeDir() + "/" + string(deferred)); err != nil {
						t.Errorf("%s succeeded, but: %v", program, err)
					}
				}
				return string(out), err
			}
			from := "file://" + cache + "?store=" + store.storeDir()
			fetch := func(nix peers.Nix) (string, error) {
				return client(nix, "nix", "copy", "--from", from, "--to", "URI", "--file", file, "mid", "deferred")
			}
			write()
			// When several of its threads fail, Nix 2.8 may report another's complaint
			// that the first one is ending the rest.
			const reason, ending = "cannot register realisation", "thread pool is shutting down"
			if out, err := fetch(nix); err == nil || !strings.Contains(out, reason) && !strings.Contains(out, ending) {
				t.Errorf("unsigned realisations: %v, want them refused\n%s", err, out)
			}
			write(key)
			// Not "top", which refers to itself: Nix 2.8 and later ones disagree about the
			// content address of such paths.
			for _, user := range peers.Nixes(t) {
				if out, err := fetch(user); err != nil {
					t.Errorf("signed realisations, Nix %s: %v\n%s", user.Version, err, out)
				}
			}
			if out, err := client(nix, "nix-build", "--store", "URI", file, "-A", "top", "-A", "deferred", "--no-out-link",
				"--option", "substituters", from, "--option", "max-jobs", "0", "--option", "builders", ""); err != nil {
				t.Errorf("substitution: %v\n%s", err, out)
			}
		})
	}
}

// Without ca-derivations no path has realisations, and the old daemons must not be
// asked: they fall over the question. A store with such derivations in it and a
// daemon that does not know of them is the one case in which it has to be.
func TestRealisationsWithoutFeature(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			store := newRelocated(t, nix)
			_, outs := store.build(t, derivationsFile(t), "base", "plain")
			withoutNixEnv(t)
			t.Setenv("NIX_CONFIG", "experimental-features = nix-command")
			s := openWithin(t, nix, store.uri())
			infos, err := s.Infos(t.Context(), outs)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range infos {
				list, err := s.Realisations(t.Context(), info)
				switch {
				case len(list) > 0:
					t.Errorf("%s: found %v", info.Path, list)
				case info.Path.Name() == "plain" && err != nil:
					t.Errorf("%s: %v", info.Path, err)
				case err != nil && !errors.Is(err, errors.ErrUnsupported):
					t.Errorf("%s: %v, want errors.ErrUnsupported", info.Path, err)
				}
			}
			// The roots are on another connection than the one that fell.
			if err := s.WriteNAR(t.Context(), outs[0], io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestResolveOutputs(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			store := newRelocated(t, nix)
			drvs, _ := store.build(t, derivationsFile(t), "base", "plain")
			unbuilt := storePaths(t, store.storeDir(),
				nix.Output(t, "nix-instantiate", "--store", store.uri(), derivationsFile(t), "-A", "top"))[0]
			s := openWith(t, nix, store.uri())
			abs := func(p layout.StorePath) string { return p.Abs(store.storeDir()) }
			for arg, want := range map[string]string{
				abs(drvs[0]) + "^out": "base", abs(drvs[0]) + "!dev": "base-dev", abs(drvs[1]) + "^out": "plain",
			} {
				p, err := s.Resolve(t.Context(), arg)
				if err != nil || p.Name() != want {
					t.Errorf("%s: %s, %v, want %s", arg, p, err, want)
				}
			}
			for _, arg := range []string{abs(drvs[0]) + "^doc", abs(unbuilt) + "^out"} {
				if p, err := s.Resolve(t.Context(), arg); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %s, %v, want fs.ErrNotExist", arg, p, err)
				}
			}
			absent := store.storeDir() + "/00000000000000000000000000000000-x.drv^out"
			if p, err := s.Resolve(t.Context(), absent); err == nil {
				t.Errorf("%s: %s", absent, p)
			}
			// The log of what was built, from the store's own folder.
			log, err := s.Log(t.Context(), drvs[1])
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			if _, err := io.ReadAll(log); err != nil {
				t.Error(err)
			}
		})
	}
}
