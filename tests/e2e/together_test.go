//go:build real

package e2e_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A meeting is a cache that gives out no NAR before every client has read all the
// records it needs. So each has made its plan before any can have written.
type meeting struct {
	files http.Handler

	mu      sync.Mutex
	missing map[string]map[string]bool // records that a client has yet to read
	open    chan struct{}              // closed when there are none
}

// meet serves a tree at /NAME/ for each client.
func meet(t testing.TB, tree string, clients map[string][]string) string {
	m := &meeting{files: http.FileServer(http.Dir(tree)), missing: map[string]map[string]bool{}, open: make(chan struct{})}
	for client, paths := range clients {
		m.missing[client] = map[string]bool{}
		for _, path := range paths {
			m.missing[client][hashPart(path)+".narinfo"] = true
		}
	}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return server.URL
}

func (m *meeting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if strings.HasPrefix(name, "nar/") {
		select {
		case <-m.open:
		case <-r.Context().Done():
			return
		}
	}
	http.StripPrefix("/"+client, m.files).ServeHTTP(w, r)
	m.arrived(client, name)
}

func (m *meeting) arrived(client, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.missing[client][name] {
		return
	}
	delete(m.missing[client], name)
	for _, missing := range m.missing {
		if len(missing) > 0 {
			return
		}
	}
	close(m.open)
}

// Two runs write into one tree at the same time, with closures that overlap and
// keys that differ. Both succeed, nothing is lost, and what both wanted to sign
// is signed by both.
func TestTwoRunsAtOnce(t *testing.T) {
	source, store := fullTree(t), peers.Closure(t)
	keys := []nixtest.Key{newest(t).NewKey(t, "left-1"), newest(t).NewKey(t, "right-1")}
	roots := [][]string{
		append(somePaths(t)[:2:2], store.Named(t, "zlib1g-"), store.Named(t, "libacl1-")),
		append(somePaths(t)[1:], store.Named(t, "zlib1g-"), store.Named(t, "libbz2-1.0-")),
	}
	closures := [][]string{closureOf(t, peers.Newest(t), store.Root, roots[0]...), closureOf(t, peers.Newest(t), store.Root, roots[1]...)}
	for _, method := range []string{"zstd", "xz"} { // as it is, and anew
		tree := filepath.Join(t.TempDir(), "cache")
		url := meet(t, source.Dir, map[string][]string{"left": closures[0], "right": closures[1]})
		var runs []*nixtest.Running
		for i, client := range []string{"left", "right"} {
			cmd := newest(t).Command(t, append([]string{"export", "--from", url + "/" + client, "--to", tree, "-k", keys[i].File,
				"-c", method, "--trusted-public-key", source.Key.Public}, roots[i]...)...)
			runs = append(runs, nixtest.Start(t, cmd))
		}
		for _, run := range runs {
			run.Wait(t).Want(t, 0)
		}
		newest(t).Output(t, "verify", "--deep", tree)
		wantedBy := map[string][]string{}
		for i, closure := range closures {
			for _, path := range closure {
				wantedBy[path] = append(wantedBy[path], []string{"left-1", "right-1"}[i])
			}
		}
		overlap := 0
		for path, signers := range wantedBy {
			if len(signers) == 2 {
				overlap++
			}
			want := append([]string{"e2e.example.org-1"}, signers...)
			if diff := cmp.Diff(want, readRecord(t, tree, path).signedBy()); diff != "" {
				t.Errorf("%s: signed by (-want +got):\n%s", path, diff)
			}
		}
		if overlap < 3 || overlap == len(wantedBy) {
			t.Fatalf("%d of %d paths are wanted by both: that tests nothing", overlap, len(wantedBy))
		}
	}
}
