//go:build real

package siege_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// pushed counts the paths that this process has made: no two are the same.
var pushed atomic.Int64

// push is what an honest client does: it adds a new path to its store, copies it to the server, and looks at it there as a reader. It returns the
// path, and how long the server had to do with it.
func (s *server) push(t *testing.T, nix peers.Nix, who string) (string, time.Duration, error) {
	store, n := peers.StoreRoot(t), pushed.Add(1)
	to := strings.Replace(s.url, "://", "://"+who+":"+s.tokens[who]+"@", 1) + "/upload"
	nix.Home = t.TempDir() // remembers nothing
	dir := filepath.Join(t.TempDir(), fmt.Sprint("honest-", n))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", 0, err
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), noise(1<<(18+i)), 0o644); err != nil {
			return "", 0, err
		}
	}
	path, err := s.run(nix.Command(t, "nix-store", "--store", store, "--add", dir))
	if err != nil {
		return "", 0, err
	}
	begin := time.Now()
	compression := []string{"zstd", "xz", "none"}[n%3]
	_, err = s.run(nix.Command(t, "nix", "copy", "--store", store, "--to", to+"?write-nar-listing=true&compression="+compression, path))
	if err != nil {
		return path, time.Since(begin), err
	}
	out, err := s.run(nix.Command(t, "nix", "path-info", "--store", s.url, path))
	if err == nil && out != path {
		err = fmt.Errorf("path-info says %q", out)
	}
	return path, time.Since(begin), err
}

// noise is text that compresses a little.
func noise(n int) []byte {
	text := make([]byte, n)
	for j := range text {
		text[j] = byte(rand.Uint32() % 64)
	}
	return text
}

func (s *server) run(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if s.ca != "" {
		cmd.Env = append(cmd.Env, "NIX_SSL_CERT_FILE="+s.ca)
	}
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// pushes has each Nix push again and again until ctx ends, some times at least. It
// returns how long each push took, by the version.
func (s *server) pushes(t *testing.T, ctx context.Context, least int) map[string][]time.Duration {
	t.Helper()
	var mu sync.Mutex
	var honest sync.WaitGroup
	took := map[string][]time.Duration{}
	for i, nix := range peers.Nixes(t) {
		honest.Go(func() {
			for n := 0; n < least || ctx.Err() == nil; n++ {
				_, d, err := s.push(t, nix, []string{"alice", "bob"}[i%2])
				if err != nil {
					t.Errorf("Nix %s, push %d, after %s: %v", nix.Version, n, d, err)
					return
				}
				mu.Lock()
				took[nix.Version] = append(took[nix.Version], d)
				mu.Unlock()
			}
		})
	}
	honest.Wait()
	return took
}

// A pair is how long a push took to a server in a siege, and one that began at the same
// moment to a server at peace.
type pair struct{ siege, peace time.Duration }

// pairs has each Nix push to a server and to another one at peace, again and again until
// ctx ends, some times at least. It returns how long the pushes took, by the version.
func (s *server) pairs(t *testing.T, ctx context.Context, peace *server, least int) map[string][]pair {
	t.Helper()
	var mu sync.Mutex
	var honest sync.WaitGroup
	took := map[string][]pair{}
	for i, nix := range peers.Nixes(t) {
		who := []string{"alice", "bob"}[i%2]
		honest.Go(func() {
			for n := 0; n < least || ctx.Err() == nil; n++ {
				var p pair
				var failed [2]error
				var both sync.WaitGroup
				both.Go(func() { _, p.siege, failed[0] = s.push(t, nix, who) })
				both.Go(func() { _, p.peace, failed[1] = peace.push(t, nix, who) })
				both.Wait()
				if err := errors.Join(failed[:]...); err != nil {
					t.Errorf("Nix %s, push %d, after %s and %s: %v", nix.Version, n, p.siege, p.peace, err)
					return
				}
				mu.Lock()
				took[nix.Version] = append(took[nix.Version], p)
				mu.Unlock()
			}
		})
	}
	honest.Wait()
	return took
}

const (
	// fewest is how many pairs of pushes each Nix makes at least.
	fewest = 5
	// factor and slack are what a push may take longer in a siege. Both pushes of a pair
	// share the machine with the attackers and whatever else is at work on it. The few
	// pushes of one Nix alone have more, so that none of them starves.
	factor     = 3
	slack      = 5 * time.Second
	slackOfOne = 15 * time.Second
)

// checkPace wants that the middle one of the pushes in a siege took no longer than
// three times the middle one of those at the same moments to a server at peace.
func checkPace(t *testing.T, took map[string][]pair) {
	t.Helper()
	var all []pair
	check := func(who string, pairs []pair, slack time.Duration) {
		t.Helper()
		var siege, peace []time.Duration
		for _, p := range pairs {
			siege, peace = append(siege, p.siege), append(peace, p.peace)
		}
		t.Logf("%s: %d pushes, %.1f s in the middle, %.1f s at most; at peace %.1f s, %.1f s at most", who, len(pairs),
			middle(siege).Seconds(), slices.Max(siege).Seconds(), middle(peace).Seconds(), slices.Max(peace).Seconds())
		if middle(siege) > factor*middle(peace)+slack {
			t.Errorf("%s: a push takes %s in a siege, and %s at peace", who, middle(siege), middle(peace))
		}
	}
	for version, pairs := range took {
		check("Nix "+version, pairs, slackOfOne)
		all = append(all, pairs...)
	}
	if len(all) > 0 { // an error was told of otherwise
		check("all", all, slack)
	}
}

func middle(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// readers read a path as a client does, until ctx ends: its narinfo and its NAR,
// to the last byte. It returns how often.
func (s *server) readers(t *testing.T, ctx context.Context, client *http.Client, store string) (n int) {
	t.Helper()
	for ; ctx.Err() == nil; n++ {
		if err := s.read(client, store); err != nil {
			t.Errorf("read %d: %v", n, err)
			return n
		}
	}
	return n
}

// read reads the NAR of a path.
func (s *server) read(client *http.Client, store string) error {
	hash, _, _ := strings.Cut(path.Base(store), "-")
	record, err := get(client, s.url+"/"+hash+".narinfo")
	if err != nil {
		return err
	}
	text, err := io.ReadAll(record)
	record.Close()
	if err != nil {
		return err
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		return err
	}
	nar, err := get(client, s.url+"/"+n.URL)
	if err != nil {
		return err
	}
	defer nar.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, nar); err != nil {
		return err
	}
	if layout.Hash(sum.Sum(nil)) != n.FileHash {
		return fmt.Errorf("the NAR of %s has other bytes", store)
	}
	return nil
}

func get(client *http.Client, url string) (io.ReadCloser, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return resp.Body, nil
}
