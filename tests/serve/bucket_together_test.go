//go:build real

package serve_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// Several servers, on one bucket and with nothing else in common but their key,
// take uploads of closures that overlap. A server is killed meanwhile. All that
// the clients sent again and again until it worked is there in the end, whole,
// from whichever server, and from the bucket itself.
func TestBucketTogether(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", "--public", bucket)
	first := startOn(t, bucket, nil)
	servers := []*server{first, startOn(t, bucket, first), startOn(t, bucket, first)}
	nixes := peers.Nixes(t)
	roots := named(t, overlapping[0], overlapping[1], overlapping[6], "flat")
	var clients sync.WaitGroup
	for i, s := range servers {
		nix := fresh(t, nixes[i])
		url := s.upload("compression=" + []string{"none", "zstd", "none"}[i])
		commands := []string{roots[i], roots[(i+1)%3], roots[3]}
		clients.Go(func() {
			var out []byte
			for range 20 { // as people and CI do
				var err error
				if out, err = nix.Command(t, "nix", copyArgs(t, url, commands...)...).CombinedOutput(); err == nil {
					return
				}
			}
			t.Errorf("Nix %s gives up: %s", nix.Version, out)
		})
	}
	victim := servers[1]
	address := victim.address(t)
	until(t, "the victim has taken something", func() bool {
		return strings.Contains(victim.log.String(), "outcome=")
	})
	victim.kill(t)
	victim.run(t, address)
	clients.Wait()
	verify(t, bucket, first.Key.Public)
	for i, s := range servers {
		pull(t, fresh(t, nixes[i]), s.URL, first.Key.Public, roots...)
	}
	pull(t, fresh(t, peers.Newest(t)), store.web(bucket), first.Key.Public, roots...)
}

// A path that two servers take at the same time, from clients that have signed
// it with keys of their own, has the signatures of all.
func TestBucketSignatures(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	first := startOn(t, bucket, nil)
	servers := []*server{first, startOn(t, bucket, first)}
	var keys []nixtest.Key
	var trees []string
	for _, name := range []string{"alice-1", "bob-1", "carol-1", "dan-1"} {
		key := newest(t).NewKey(t, name)
		keys, trees = append(keys, key), append(trees, exportedTree(t, key))
	}
	nars, err := os.ReadDir(filepath.Join(trees[0], "nar"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(s *server, name, text string) int {
		response, _ := do(t, http.DefaultTransport, "PUT", s.URL+"/upload/"+name, strings.NewReader(text), "Authorization", "Bearer "+s.Token)
		return response.StatusCode
	}
	// The narinfo of a path comes first and is held by one server; its NAR comes
	// to another, and a third settles it.
	early := named(t, "flat")[0]
	record := readFile(t, trees[0], hashPart(early)+".narinfo")
	if status := put(servers[0], hashPart(early)+".narinfo", record); status != 201 {
		t.Errorf("a narinfo that comes early: status %d", status)
	}
	for i, nar := range nars {
		if status := put(servers[1-i%2], "nar/"+nar.Name(), readFile(t, trees[0], "nar", nar.Name())); status != 201 && status != 204 {
			t.Errorf("%s: status %d", nar.Name(), status)
		}
	}
	third := startOn(t, bucket, first)
	if status, _ := get(t, third.URL+"/"+hashPart(early)+".narinfo"); status != 200 {
		t.Errorf("what one server held, and another completed, is not settled by a third: status %d", status)
	}
	var clients sync.WaitGroup
	for i, tree := range trees {
		for j, s := range servers {
			clients.Go(func() {
				for n := range narinfos(t, tree) {
					// References first, as far as that matters: until they are there, it is held.
					name := narinfos(t, tree)[(n+i+j)%len(narinfos(t, tree))]
					if status := put(s, name, readFile(t, tree, name)); status != 201 && status != 204 {
						t.Errorf("%s: status %d", name, status)
					}
				}
			})
		}
	}
	clients.Wait()
	startOn(t, bucket, first) // looks once more at what is held
	for _, key := range append(keys, first.Key) {
		verify(t, bucket, key.Public)
	}
	var held struct{ Problems []any }
	if err := json.Unmarshal([]byte(newest(t).Output(t, "verify", "--json", bucket)), &held); err != nil || len(held.Problems) > 0 {
		t.Errorf("verify: %v, %v", held, err)
	}
}
