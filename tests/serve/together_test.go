//go:build real

package serve_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// overlapping are roots whose closures have much in common.
var overlapping = []string{"libcurl4-", "libcurl3-gnutls-", "libgnutls30-", "libkrb5-3-", "libpam-modules-1", "libp11-kit0-", "libarchive13-", "libtirpc3-"}

// Two clients and eight, of every generation and with different compression,
// push closures that overlap at the same time. Every one of them succeeds, and
// the tree is the one that one of them would have made.
func TestPushTogether(t *testing.T) {
	for _, clients := range []int{2, 8} {
		t.Run(fmt.Sprint(clients), func(t *testing.T) {
			s := start(t)
			nixes := peers.Nixes(t)
			var wait sync.WaitGroup
			for i := range clients {
				nix := fresh(t, nixes[i%len(nixes)])
				query := "compression=" + []string{"none", "zstd"}[i/2%2]
				cmd := nix.Command(t, "nix", copyArgs(t, s.upload(query), named(t, overlapping[i%len(overlapping)], "flat")...)...)
				wait.Go(func() {
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("Nix %s: %v\n%s", nix.Version, err, out)
					}
				})
			}
			wait.Wait()
			verify(t, s.Tree, s.Key.Public)
			root := named(t, overlapping[0])
			pull(t, peers.Newest(t), s.URL, s.Key.Public, root...)
		})
	}
}

// The tree changes under the server: another process exports into it, files go.
// The server answers what is there.
func TestTreeChangesUnderneath(t *testing.T) {
	s := start(t)
	path := small(t)
	key := s.URL + "/" + hashPart(path) + ".narinfo"
	if status, _ := get(t, key); status != 404 {
		t.Fatalf("before: status %d", status)
	}
	newest(t).Output(t, "export", "--quiet", "--store", peers.Closure(t).Root, "--to", s.Tree, "-k", s.Key.File, path)
	status, text := get(t, key)
	if status != 200 {
		t.Fatalf("exported: status %d", status)
	}
	for _, nix := range peers.Nixes(t) {
		push(t, nix, s.upload("compression=none"), path)
	}
	nar := lines(text, "URL")[0]
	if err := os.Remove(filepath.Join(s.Tree, nar)); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, s.URL+"/"+nar); status != 404 {
		t.Errorf("a NAR that is gone: status %d", status)
	}
	if err := os.Remove(filepath.Join(s.Tree, hashPart(path)+".narinfo")); err != nil {
		t.Fatal(err)
	}
	push(t, fresh(t, peers.Newest(t)), s.upload("compression=none"), path)
	verify(t, s.Tree, s.Key.Public)
	if status, body := get(t, s.Metrics+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("health: status %d, %q", status, body)
	}
}

// The counters say what was done.
func TestServeMetrics(t *testing.T) {
	s := start(t)
	push(t, peers.Newest(t), s.upload("compression=none"), somePaths(t)...)
	for _, want := range []string{
		"nixstatic_tree_paths 6", "nixstatic_tree_nars 6", "nixstatic_held_narinfos 0",
		`nixstatic_uploads_total{kind="nar",result="created"} 6`, `nixstatic_uploads_total{kind="narinfo",result="created"} 6`,
		`nixstatic_uploads_total{kind="narinfo",result="untrusted"} 0`,
		`nixstatic_http_requests_total{class="upload:nar",method="PUT",status="201"} 6`,
	} {
		name, _, _ := strings.Cut(want, " ")
		if got := s.metric(t, name); len(got) != 1 || got[0] != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if err := os.Remove(filepath.Join(s.Tree, "nix-cache-info")); err != nil {
		t.Fatal(err)
	}
	status, body := get(t, s.Metrics+"/healthz")
	if status != 503 || !strings.Contains(body, "nix-cache-info") || strings.Count(body, "\n") != 1 {
		t.Errorf("health without nix-cache-info: status %d, %q", status, body)
	}
	if status, _ := get(t, s.URL+"/metrics"); status != 404 {
		t.Errorf("metrics at the readers' address: status %d", status)
	}
}
