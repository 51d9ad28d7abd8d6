//go:build linux && real

package crash

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

var sharedInputs struct {
	sync.Mutex
	key   *nixtest.Key
	files *added
}

// signingKey returns a key that all tests share.
func signingKey(t testing.TB) nixtest.Key {
	t.Helper()
	sharedInputs.Lock()
	defer sharedInputs.Unlock()
	if sharedInputs.key == nil {
		key := newRunner(t).NewKey(t, "crash-1")
		sharedInputs.key = &key
	}
	return *sharedInputs.key
}

// added are files to add, and the records that adding them makes.
type added struct{ sources, records []string }

// addedFiles returns a small file, a folder, and a file that is so large that
// nixstatic brings it to disk early.
func addedFiles(t testing.TB) added {
	t.Helper()
	sharedInputs.Lock()
	defer sharedInputs.Unlock()
	if sharedInputs.files != nil {
		return *sharedInputs.files
	}
	dir := nixtest.SharedDir(t, "files")
	a := added{sources: []string{filepath.Join(dir, "small"), filepath.Join(dir, "folder"), filepath.Join(dir, "large")}}
	write(t, a.sources[0], "small")
	write(t, filepath.Join(a.sources[1], "sub/file"), "in a folder")
	write(t, a.sources[2], noise(4<<20+1))
	p := newRunner(t)
	for path := range strings.Lines(p.Output(t, append([]string{"add", "--to", filepath.Join(dir, "tree")}, a.sources...)...)) {
		hash := hashOf(strings.TrimSpace(path))
		a.records = append(a.records, hash+".narinfo", hash+".ls")
	}
	sharedInputs.files = &a
	return a
}
