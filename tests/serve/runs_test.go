//go:build real

package serve_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// run returns the upload URL of a run.
func (s *server) runURL(run string, query ...string) string {
	return strings.Replace(s.upload(query...), "/upload", "/upload/root/"+run, 1)
}

// generations returns how many paths each run keeps, by its name.
func generations(t testing.TB, tree string) map[string]int {
	t.Helper()
	var du struct {
		Roots []struct {
			Name, Kind string
			Keeps      struct{ Count int }
		}
	}
	if err := json.Unmarshal([]byte(newest(t).Output(t, "du", "-q", "--json", tree)), &du); err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, r := range du.Roots {
		if r.Kind == "root" {
			have[strings.TrimPrefix(r.Name, "root ")] = r.Keeps.Count
		}
	}
	return have
}

// A Nix of any generation names a run by the URL that it pushes to. The run keeps
// what it brought, and what it found there.
func TestPushRun(t *testing.T) {
	for _, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			push(t, fresh(t, nix), s.runURL("acme/app/main/run-4711", "compression=none"), somePaths(t)...)
			all := len(narinfos(t, s.Tree))
			want := map[string]int{"acme/app/main@run-4711": all}
			if diff := cmp.Diff(want, generations(t, s.Tree)); diff != "" {
				t.Errorf("after the first push (-want +got):\n%s", diff)
			}
			// The same paths again, all of which are there, and some of them by another
			// client, which remembers none of it.
			push(t, fresh(t, nix), s.runURL("acme/app/main/run-4712"), somePaths(t)...)
			push(t, fresh(t, nix), s.runURL("acme/app/pull/7/run-1"), named(t, "flat")...)
			want["acme/app/main@run-4712"], want["acme/app/pull/7@run-1"] = all, 1
			if diff := cmp.Diff(want, generations(t, s.Tree)); diff != "" {
				t.Errorf("after all pushes (-want +got):\n%s", diff)
			}
			newest(t).Output(t, "gc", "policy", s.Tree, "--set", writeFile(t, "keep roots */pull/* last 1\nundo 0\n"))
			newest(t).Output(t, "gc", s.Tree, "--grace", "0", "--max-removal", "100%")
			if left := narinfos(t, s.Tree); len(left) != 1 {
				t.Errorf("%d paths are left, and the run kept one", len(left))
			}
			verify(t, s.Tree, s.Key.Public)
			// The server goes on, and the run that went is a new one.
			push(t, fresh(t, nix), s.runURL("acme/app/main/run-4713"), somePaths(t)...)
			pull(t, fresh(t, nix), s.URL, s.Key.Public, somePaths(t)...)
			if got := generations(t, s.Tree)["acme/app/main@run-4713"]; got != all {
				t.Errorf("run 4713 keeps %d of %d paths", got, all)
			}
		})
	}
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// Two servers on one bucket, one of which is killed, take two legs of one run.
func TestRunTogether(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	a := startOn(t, bucket, nil)
	b := startOn(t, bucket, a)
	nix := peers.Newest(t)
	push(t, fresh(t, nix), a.runURL("acme/app/1", "compression=none"), named(t, "libgcc-s1-")...)
	address := a.address(t)
	a.kill(t)
	a.run(t, address)
	push(t, fresh(t, nix), b.runURL("acme/app/1", "compression=none"), named(t, "flat", "libgcc-s1-")...)
	push(t, fresh(t, nix), a.runURL("acme/app/1", "compression=none"), named(t, "tree")...)
	if got := generations(t, bucket); len(got) != 1 || got["acme/app@1"] != len(everything(t, bucket)) {
		t.Errorf("%v of %d paths", got, len(everything(t, bucket)))
	}
}

// everything returns the paths in a tree of any kind.
func everything(t testing.TB, tree string) []string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	newest(t).Output(t, "sync", "-q", tree, copied)
	return narinfos(t, copied)
}

// A token that is bound to roots opens their URLs and no others.
func TestBoundToken(t *testing.T) {
	s := start(t)
	bound := newest(t).Output(t, "token", "create", "--file", s.Tokens, "--name", "acme", "--scope", "upload", "--root", "acme/*")
	until(t, "the new token is known", func() bool {
		time.Sleep(100 * time.Millisecond) // wrong tokens are limited
		status, _ := get(t, s.URL+"/upload/root/acme/app/1/0.narinfo", "Authorization", "Bearer "+bound)
		return status != 401
	})
	s.Token = bound
	nix := peers.Newest(t)
	push(t, fresh(t, nix), s.runURL("acme/app/1"), named(t, "flat")...)
	for _, url := range []string{s.upload(), s.runURL("other/app/1")} {
		out := pushRefused(t, fresh(t, nix), url, named(t, "tree")...)
		if !strings.Contains(out, "acme/*") {
			t.Errorf("the refusal does not say which roots: %s", out)
		}
	}
	if diff := cmp.Diff([]string{hashPart(named(t, "flat")[0]) + ".narinfo"}, narinfos(t, s.Tree)); diff != "" {
		t.Errorf("the tree (-want +got):\n%s", diff)
	}
}
