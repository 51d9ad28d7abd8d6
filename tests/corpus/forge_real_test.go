//go:build real

package corpus

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/tests/gitea"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// adopted makes a tree of all shapes that is whole and signed.
func adopted(t *testing.T, program nixtest.Program) (tree string, paths []*path, key nixtest.Key) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "tree")
	paths = build(t, tree)
	key = program.NewKey(t, "forge-1")
	program.Run(t, "adopt", "-q", "-k", key.File, tree).Want(t, 0)
	return tree, paths, key
}

// counting puts a proxy before a server that notes requests, and breaks after so many
// PUTs if limit is not 0.
func counting(t *testing.T, host string, limit int64) (address string, requests func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	var puts atomic.Int64
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		all = append(all, r.Method+" "+r.URL.Path)
		mu.Unlock()
		if r.Method == http.MethodPut && limit > 0 && puts.Add(1) > limit {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { all = nil }()
		return all
	}
}

// TestForge: a tree is hosted by an unpatched Gitea, and every Nix reads it there.
func TestForge(t *testing.T) {
	program := nixtest.Program{Nix: peers.Newest(t)}
	tree, paths, key := adopted(t, program)
	all := names(paths, every)
	server := gitea.Start(t, "REQUIRE_SIGNIN_VIEW = true") // in [service]: readers log in
	nixtest.Secret(server.Token)
	address, requests := counting(t, server.Host, 0)
	registry := strings.Replace(server.Registry("cache", "1.0"), server.Host, address, 1)

	r := program.Run(t, "sync", tree, registry)
	if r.Code == 0 {
		t.Fatal("a stranger may write")
	}
	t.Setenv("NIXSTATIC_FORGE_TOKEN", server.Token)
	requests()
	program.Run(t, "sync", tree, registry).Want(t, 0)
	requests()
	program.Run(t, "sync", tree, registry).Want(t, 0)
	if got := requests(); len(got) != 1 || !strings.HasSuffix(got[0], "/files") {
		t.Errorf("a sync with nothing to do makes these requests: %q", got)
	}
	// By another machine, which remembers nothing: the sums in the listing suffice.
	t.Setenv("CACHE_DIRECTORY", t.TempDir())
	program.Run(t, "sync", tree, registry).Want(t, 0)
	if got := requests(); len(got) != 1 {
		t.Errorf("a first sync with nothing to do makes these requests: %q", got)
	}
	program.Run(t, "verify", "--deep", "--trusted-public-key", key.Public, registry).Want(t, 0)

	// The others read it with netrc, as they read any cache.
	netrc := filepath.Join(t.TempDir(), "netrc")
	host, _, _ := strings.Cut(server.Host, ":")
	if err := os.WriteFile(netrc, fmt.Appendf(nil, "machine %s login %s password %s\n", host, server.User, server.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := server.Cache("cache", "1.0")
	for _, nix := range peers.Nixes(t) {
		root := peers.StoreRoot(t)
		nix.Output(t, "nix", append([]string{"copy", "--option", "netrc-file", netrc, "--option", "trusted-public-keys", key.Public, "--from", cache, "--to", root}, all...)...)
		root = peers.StoreRoot(t)
		nix.Output(t, "nix", "build", "--no-link", "--option", "netrc-file", netrc, "--option", "substituters", cache, "--option", "trusted-public-keys", key.Public,
			"--store", root, all[2])
		if _, err := os.Stat(filepath.Join(root, all[2])); err != nil {
			t.Errorf("Nix %s: %v", nix.Version, err)
		}
	}

	// Back: nothing is lost on the way.
	back := filepath.Join(t.TempDir(), "back")
	program.Run(t, "sync", registry, back).Want(t, 0)
	program.Run(t, "verify", "--deep", "--trusted-public-key", key.Public, back).Want(t, 0)
	for _, p := range paths {
		a, errA := os.ReadFile(filepath.Join(tree, p.hash+".narinfo"))
		b, errB := os.ReadFile(filepath.Join(back, p.hash+".narinfo"))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s has changed on the way:\n%s\n%s", p.base(), a, b)
		}
	}
	// A signature more replaces the records there.
	second := program.NewKey(t, "forge-2")
	program.Run(t, "sign", "-q", "-k", second.File, tree).Want(t, 0)
	program.Run(t, "sync", tree, registry).Want(t, 0)
	program.Run(t, "verify", "--trusted-public-key", second.Public, registry).Want(t, 0)
	// Paths that go from the tree go from the registry.
	program.Run(t, "rm", "-q", "--with-referrers", tree, all[0]).Want(t, 0)
	program.Run(t, "sync", "--delete", tree, registry).Want(t, 0)
	program.Run(t, "verify", "--deep", registry).Want(t, 0)
	if r := program.Run(t, "gc", registry); r.Code == 0 {
		t.Error("gc prunes a registry, whose listing tells no times")
	}
	program.Run(t, "export", "--from", registry, "--trusted-public-key", key.Public, "--to", filepath.Join(t.TempDir(), "exported"), all[5]).Want(t, 0)
}

// TestForgeCutOff: a sync that breaks off leaves a tree that can be read, and the next
// one completes it; two at once come to the same.
func TestForgeCutOff(t *testing.T) {
	program := nixtest.Program{Nix: peers.Newest(t)}
	tree, _, _ := adopted(t, program)
	server := gitea.Start(t)
	nixtest.Secret(server.Token)
	t.Setenv("NIXSTATIC_FORGE_TOKEN", server.Token)
	registry := server.Registry("cache", "1.0")
	for _, limit := range []int64{1, 40, 60} {
		address, _ := counting(t, server.Host, limit)
		if r := program.Run(t, "sync", tree, strings.Replace(registry, server.Host, address, 1)); r.Code == 0 {
			t.Fatalf("a sync is done after %d PUTs", limit)
		}
		r := program.Run(t, "verify", "--deep", registry)
		for line := range strings.Lines(r.Stdout) {
			if !strings.HasPrefix(line, "note: ") && !strings.HasPrefix(line, "no-cache-info") {
				t.Errorf("after %d PUTs: %s", limit, line)
			}
		}
	}
	var both sync.WaitGroup
	for range 2 {
		cmd := program.Command(t, "sync", tree, registry)
		both.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	both.Wait()
	program.Run(t, "verify", "--deep", registry).Want(t, 0)
}

// TestForgeQuota: a registry that is full says so, and keeps what it has.
func TestForgeQuota(t *testing.T) {
	program := nixtest.Program{Nix: peers.Newest(t)}
	tree, _, _ := adopted(t, program)
	server := gitea.Start(t, "[packages]", "LIMIT_TOTAL_OWNER_SIZE = 4 KiB")
	nixtest.Secret(server.Token)
	t.Setenv("NIXSTATIC_FORGE_TOKEN", server.Token)
	// An administrator has no quota.
	program.Run(t, "sync", tree, server.Registry("cache", "1.0")).Refused(t, "takes no more")
}

// TestForgeCommands: the commands that work on a bucket work on a registry.
func TestForgeCommands(t *testing.T) {
	store := peers.Closure(t)
	program := nixtest.Program{Nix: peers.Newest(t)}
	key := program.NewKey(t, "forge-1")
	server := gitea.Start(t)
	nixtest.Secret(server.Token)
	t.Setenv("NIXSTATIC_FORGE_TOKEN", server.Token)
	registry, cache := server.Registry("cache", "1"), server.Cache("cache", "1")
	path := store.Named(t, "libgcc-s1-")

	program.Run(t, "push", "--store", store.Root, "-k", key.File, registry, path).Want(t, 0)
	if r := program.Run(t, "push", "--store", store.Root, "-k", key.File, registry, path).Want(t, 0); !strings.Contains(r.Stderr, "0 paths written") {
		t.Errorf("a second push:\n%s", r.Stderr)
	}
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	added := strings.TrimSpace(program.Output(t, "add", "--to", registry, "-k", key.File, file))
	program.Run(t, "export", "--store", store.Root, "--to", registry, "-k", key.File, store.Named(t, "zlib1g-")).Want(t, 0)
	program.Run(t, "verify", "--deep", "--trusted-public-key", key.Public, registry).Want(t, 0)

	for _, from := range []string{registry, cache} {
		if got := program.Output(t, "cat", from, added); got != "hello" {
			t.Errorf("cat %s: %q", from, got)
		}
		if got := program.Output(t, "ls", from, path); !strings.Contains(got, "lib") {
			t.Errorf("ls %s: %q", from, got)
		}
		if got := program.Output(t, "info", from, path); !strings.Contains(got, path) {
			t.Errorf("info %s: %q", from, got)
		}
	}
	if got := program.Output(t, "find", registry, "libgcc"); !strings.Contains(got, path) {
		t.Errorf("find: %q", got)
	}
	program.Run(t, "adopt", registry).Want(t, 0)
	root := peers.StoreRoot(t)
	program.Nix.Output(t, "nix", "copy", "--option", "trusted-public-keys", key.Public, "--from", cache, "--to", root, path)
}
