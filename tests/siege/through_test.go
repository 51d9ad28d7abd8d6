//go:build real

package siege_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// An origin is the upstream of servers: a signed cache of real paths that is a little
// away, and counts what it is asked for.
type origin struct {
	*httptest.Server
	key   nixtest.Key
	paths []string     // those that honest readers want
	nars  []string     // URLs of other NARs with the hash of their path, for attackers
	asked atomic.Int64 // for narinfos
}

func startOrigin(t *testing.T) *origin {
	t.Helper()
	all, p := peers.Closure(t), nixtest.Program{Nix: peers.Newest(t)}
	o := &origin{key: p.NewKey(t, "origin-1")}
	theirs := []string{all.Named(t, "flat"), all.Named(t, "tree")}
	o.paths = []string{all.Named(t, "hello-2.10-debug"), all.Named(t, "libgcc-s1-")}
	tree := filepath.Join(t.TempDir(), "origin")
	p.Output(t, append([]string{"export", "--quiet", "--store", all.Root, "--to", tree, "-k", o.key.File}, append(theirs, o.paths...)...)...)
	for _, store := range theirs {
		text, err := os.ReadFile(filepath.Join(tree, fmt.Sprintf("%.32s.narinfo", path.Base(store))))
		if err != nil {
			t.Fatal(err)
		}
		n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if err != nil {
			t.Fatal(err)
		}
		o.nars = append(o.nars, "/"+n.URL+"?of="+n.Path.Hash())
	}
	files := http.FileServer(http.Dir(tree))
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".narinfo") {
			o.asked.Add(1)
		}
		time.Sleep(20 * time.Millisecond)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

// attacks on a server that fetches what readers ask for.
func (o *origin) attacks() map[string]attack {
	return map[string]attack{
		"made-up hashes": {stranger: true, do: func(ctx context.Context, a *attacker) {
			for range 50 {
				a.send(ctx, "GET", "/"+hash()+".narinfo", nil)
			}
		}},
		"fetches that are left": {stranger: true, do: func(ctx context.Context, a *attacker) {
			for _, url := range o.nars {
				leaving, leave := context.WithTimeout(ctx, 30*time.Millisecond)
				a.send(leaving, "GET", url, nil)
				leave()
			}
		}},
		"fetches that are not read": {stranger: true, copies: 50, do: func(ctx context.Context, a *attacker) {
			for _, url := range o.nars {
				ctx, end := context.WithTimeout(ctx, 5*time.Second)
				a.hold(ctx, "GET "+url+" HTTP/1.1\r\nHost: x\r\n\r\n", 0, time.Second)
				end()
			}
		}},
		"ends of NARs": {stranger: true, do: func(ctx context.Context, a *attacker) {
			for _, url := range o.nars {
				a.send(ctx, "GET", url, nil, "Range: bytes=-1"+strings.Repeat(",-1", 1000))
			}
		}},
		"NARs of other paths": {stranger: true, do: func(ctx context.Context, a *attacker) {
			_, of, _ := strings.Cut(o.nars[0], "?")
			for range 20 {
				a.send(ctx, "GET", "/nar/"+sum()+".nar.zst?"+of, nil)
			}
		}},
		"questions of uploaders": {do: func(ctx context.Context, a *attacker) {
			var hashes strings.Builder
			for range 1000 {
				hashes.WriteString(hash() + "\n")
			}
			a.send(ctx, "POST", "/upload/?missing", strings.NewReader(hashes.String()))
		}},
	}
}

// pull has a Nix that remembers nothing copy a path into an empty store.
func (s *server) pull(t *testing.T, nix peers.Nix, store string) (time.Duration, error) {
	root := peers.StoreRoot(t)
	nix.Home = t.TempDir()
	begin := time.Now()
	_, err := s.run(nix.Command(t, "nix", "copy", "--from", s.url, "--to", root, "--option", "trusted-public-keys", s.key.Public, store))
	return time.Since(begin), err
}

// Attackers without a token neither keep readers from what an upstream has nor have it
// asked without end.
func TestThroughUnderSiege(t *testing.T) {
	o := startOrigin(t)
	flags := []string{"--pull-through", o.URL, "--pull-through-key", o.key.Public, "--min-free", "100MiB"}
	s := start(t, filepath.Join(t.TempDir(), "cache"), flags...)
	peace := start(t, filepath.Join(t.TempDir(), "cache"), flags...)
	end := s.besiege(t, "", o.attacks())
	time.Sleep(2 * time.Second)
	took := map[string][]pair{}
	nix := peers.Newest(t)
	for ctx, stop := context.WithTimeout(t.Context(), lasts(t, time.Second)); ; {
		for _, store := range o.paths {
			var p pair
			var failed [2]error
			var both sync.WaitGroup
			both.Go(func() { p.siege, failed[0] = s.pull(t, nix, store) })
			both.Go(func() { p.peace, failed[1] = peace.pull(t, nix, store) })
			both.Wait()
			if err := errors.Join(failed[:]...); err != nil {
				t.Errorf("%s: %v", path.Base(store), err)
			}
			took[nix.Version] = append(took[nix.Version], p)
		}
		if ctx.Err() != nil || t.Failed() {
			stop()
			break
		}
	}
	checkPace(t, took)
	end()
	// Two networks may ask as often as two closures of 5,000 paths need, and two tokens as
	// often as they name paths.
	named := 1000 * int64(s.besieged["questions of uploaders"].count())
	if n := o.asked.Load(); n > 2*5500+named+attackersEach*1000 {
		t.Errorf("the upstream was asked for %d records", n)
	} else {
		t.Logf("the upstream was asked for %d records", n)
	}
	for _, store := range o.paths {
		if _, err := os.Stat(filepath.Join(s.tree, fmt.Sprintf("%.32s.narinfo", path.Base(store)))); err != nil {
			t.Error(err)
		}
	}
	s.ends(t)
	peace.ends(t)
}
