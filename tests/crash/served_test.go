//go:build linux && real

package crash

import (
	"bufio"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

var sharedUploads struct {
	sync.Mutex
	closure *closure
	other   *nixtest.Key
	scripts []script
}

// uploaded returns a small closure with one of everything that is uploaded.
func uploaded(t testing.TB) closure {
	t.Helper()
	sharedUploads.Lock()
	defer sharedUploads.Unlock()
	if sharedUploads.closure == nil {
		c := makeClosure(t, nixtest.SharedDir(t, "uploaded"), []storePath{
			{name: "base", files: map[string]string{"": "all paths rest on it"}},
			{name: "lib", refs: []string{"base", "lib"}, files: map[string]string{"lib/liba.so": "code", "lib/noise": noise(50_000)}},
			{name: "symbols", refs: []string{"lib"}, deriver: deriver,
				files: map[string]string{"lib/debug/.build-id/" + buildID[:2] + "/" + buildID[2:] + ".debug": "symbols"}},
		})
		sharedUploads.closure = &c
	}
	return *sharedUploads.closure
}

// scripts returns what clients send of it: the newest Nix, which sends all NARs
// first, the oldest, which sends one path after the other, and a program that
// copies files.
func scripts(t testing.TB) []script {
	t.Helper()
	c, p := uploaded(t), newRunner(t)
	sharedUploads.Lock()
	defer sharedUploads.Unlock()
	if sharedUploads.scripts == nil {
		other := p.NewKey(t, "other-1")
		newest := record(t, peers.Newest(t), c, other)
		sharedUploads.scripts = []script{newest, record(t, peers.Old(t), c, other), newest.copied()}
	}
	return sharedUploads.scripts
}

// withCache is a folder as a server finds it: with a cache that has nothing yet.
func withCache(t testing.TB) string {
	t.Helper()
	dir := scratch(t)
	nixtest.Init(t, filepath.Join(dir, "tree"))
	return dir
}

// serveArgs are those of a server for the tree in a folder.
func serveArgs(t testing.TB, dir string) []string {
	t.Helper()
	nixtest.Init(t, filepath.Join(dir, "tree"))
	return []string{"serve", filepath.Join(dir, "tree"), "--listen", "127.0.0.1:0", "--anonymous-upload", "-k", signingKey(t).File, "--min-free", "0"}
}

// serve runs a server on the tree in a folder while a client uses it, and ends it
// as systemd would. It has to end well.
func (p runner) serve(t testing.TB, dir string, client func(url string)) {
	t.Helper()
	cmd := p.Command(t, serveArgs(t, dir)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		client(strings.TrimSuffix(line, "\n"))
		cmd.Process.Signal(syscall.SIGTERM)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ends with %v\n%s", err, stderr.String())
	}
}

// serve runs a server under the watch while a client uses it, unless it ends
// before it has said where it is to be found, and ends it as systemd would.
func (w watch) serve(t testing.TB, cmd *exec.Cmd, client func(url string)) trace {
	t.Helper()
	w.Stops = "serving"
	r := w.start(t, cmd)
	for waiting := true; waiting; {
		select {
		case <-r.ended:
			waiting = false
		case <-time.After(time.Millisecond):
			if url, whole := strings.CutSuffix(r.printed(t, r.outputs[0]), "\n"); whole {
				waiting = false
				client(url)
				unix.Kill(int(r.tr.started.Load()), unix.SIGTERM)
			}
		}
	}
	return r.wait(t)
}

// resume lets a client try again with a server that was started anew on what an
// accident left, and returns the tree that this makes. Nothing is left over.
func (p runner) resume(t testing.TB, dir string, client func(url string) error) map[string]string {
	t.Helper()
	p.serve(t, dir, func(url string) {
		if err := client(url); err != nil {
			t.Errorf("the client tries again, and fails: %v", err)
		}
	})
	for _, private := range []string{"staging", "held"} {
		for _, name := range names(t, filepath.Join(dir, "tree/.nixstatic", private)) {
			t.Errorf("%s is left %s", name, private)
		}
	}
	return contents(t, filepath.Join(dir, "tree"))
}

// sameTree compares the files of two trees by their digests.
func sameTree(t testing.TB, want, have map[string]string) {
	t.Helper()
	for name, sum := range want {
		if have[name] != sum {
			t.Errorf("%s is not what it would be: %q", name, have[name])
		}
	}
	for name := range have {
		if _, ok := want[name]; !ok {
			t.Errorf("%s would not be there", name)
		}
	}
}

// anyListings are the digests of a tree, but for those of listings: where a server
// died that had one in memory, the next one writes its own, with other blanks.
func anyListings(tree map[string]string) map[string]string {
	tree = maps.Clone(tree)
	for name := range tree {
		if strings.HasSuffix(name, ".ls") {
			tree[name] = ""
		}
	}
	return tree
}

// soundness returns what is wrong with the tree in a folder.
func soundness(t testing.TB, dir string) error {
	t.Helper()
	tree := filepath.Join(dir, "tree")
	if _, err := os.Stat(tree); err != nil {
		return nil // none yet
	}
	return check(t.Context(), tree, nil)
}
