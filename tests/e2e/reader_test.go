//go:build real

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A fetch returns a file of a tree; a client that gets an error gives up.
type fetch func(ctx context.Context, name string) ([]byte, error)

func overHTTP(url string) fetch {
	return func(ctx context.Context, name string) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/"+name, nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %s", response.Status)
		}
		return body, err
	}
}

func fromDirectory(dir string) fetch {
	return func(_ context.Context, name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
}

// readAround does what clients do, over and over until ctx ends: it reads the
// record of each path and then the NAR that the record names. It returns how
// many NARs it read.
func readAround(ctx context.Context, t testing.TB, get fetch, paths []string) (n int) {
	for ctx.Err() == nil {
		for _, path := range paths {
			text, err := get(ctx, hashPart(path)+".narinfo")
			if ctx.Err() != nil {
				return n
			}
			if err != nil {
				t.Errorf("record of %s: %v", path, err)
				return n
			}
			record := parseLines(string(text))
			nar, err := get(ctx, record["URL"])
			if ctx.Err() != nil {
				return n
			}
			if size := strconv.Itoa(len(nar)); err != nil || size != record["FileSize"] {
				t.Errorf("NAR of %s at %s: %v, %s bytes, want %s", path, record["URL"], err, size, record["FileSize"])
				return n
			}
			if _, err := get(ctx, hashPart(path)+".ls"); err != nil && ctx.Err() == nil {
				t.Errorf("listing of %s: %v", path, err)
				return n
			}
			n++
		}
	}
	return n
}

// parseLines is parseRecord for goroutines, which must not end a test.
func parseLines(text string) map[string]string {
	record := map[string]string{}
	for line := range strings.Lines(text) {
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		record[field] = value
	}
	return record
}

// A reader never sees a record whose NAR is absent, or is not the one it tells of,
// while anything is done to the tree.
func TestReadersSeeAWholeTree(t *testing.T) {
	store, p := peers.Closure(t), newest(t)
	tree := filepath.Join(t.TempDir(), "cache")
	first, second := p.NewKey(t, "first-1"), p.NewKey(t, "second-1")
	roots := somePaths(t)
	export := func(args ...string) {
		t.Helper()
		p.Output(t, append(append([]string{"export", "-q", "--store", store.Root, "--to", tree}, args...), roots...)...)
	}
	export("-c", "none")
	paths := closureOf(t, p.Nix, store.Root, roots...)
	server := nixtest.ServeNginx(t, tree)

	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	var reads [2]int
	for i, get := range []fetch{overHTTP(server.URL), fromDirectory(tree)} {
		readers.Go(func() { reads[i] = readAround(ctx, t, get, paths) })
	}
	for _, method := range []string{"zstd", "xz", "none", "gzip", "zstd"} {
		export("--force", "-k", first.File, "-c", method)
	}
	p.Output(t, "sign", tree, "-k", second.File)
	stop()
	readers.Wait()
	t.Logf("%d reads over HTTP, %d from the directory", reads[0], reads[1])
	if slices.Min(reads[:]) < len(paths) {
		t.Errorf("a reader did not get around once: %v", reads)
	}
	p.Output(t, "verify", "--deep", "--trusted-public-key", second.Public, tree)
}
