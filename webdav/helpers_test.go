package webdav

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// quiet is a log that is not read.
var quiet = slog.New(slog.DiscardHandler)

// A rig is a server with a tree in a directory that takes uploads.
type rig struct {
	*httptest.Server
	tree     *layout.Dir
	dir      string
	recorded *recorder
}

// newRig starts one. Edit changes the configuration before the start.
func newRig(t *testing.T, edit func(*Config, *inbox.Config)) *rig {
	t.Helper()
	return rigOn(t, filepath.Join(t.TempDir(), "tree"), edit)
}

// rigOn starts one on a tree that may be there: what an earlier server remembered
// is forgotten.
func rigOn(t *testing.T, dir string, edit func(*Config, *inbox.Config)) *rig {
	t.Helper()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	if _, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	key, err := signer.Generate("rig-1")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{tree: tree, dir: dir, recorded: &recorder{}}
	in := inbox.Config{Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Keys: []signer.SecretKey{key}}, Log: quiet}
	c := Config{Tree: tree, Auth: AllowAll, Metrics: r.recorded, Log: quiet}
	if edit != nil {
		edit(&c, &in)
	}
	box, err := inbox.Open(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	c.Inbox = box
	// Uploads that wait notice that their clients went, as those of the program do.
	var left atomic.Bool
	r.Server = httptest.NewUnstartedServer(New(c))
	r.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return share.Watched(ctx, left.Load) }
	r.Start()
	t.Cleanup(func() {
		left.Store(true)
		r.Close()
	})
	return r
}

// whole fails the test unless the tree is right to the last byte.
func (r *rig) whole(t *testing.T) {
	t.Helper()
	if err := fsck.Whole(context.Background(), r.tree, fsck.Options{Deep: true}); err != nil {
		t.Errorf("the tree: %v", err)
	}
}

// example is a whole cache on disk, and its closure.
func example(t *testing.T) (string, *treetest.Paths) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "example")
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	return dir, treetest.Populate(t, tree)
}

// A reaction is what came back, read to its end.
type reaction struct {
	Status int
	Header http.Header
	Body   string
}

// do sends a request. Headers are "Name: value".
func (r *rig) do(t *testing.T, method, path string, body io.Reader, headers ...string) reaction {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.Client().Transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return reaction{resp.StatusCode, resp.Header, string(text)}
}

// put uploads a file of dir.
func (r *rig) put(t *testing.T, dir string, key layout.Key, headers ...string) reaction {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, string(key)))
	if err != nil {
		t.Fatal(err)
	}
	return r.do(t, "PUT", "/upload/"+string(key), bytes.NewReader(text), headers...)
}

// keysOf lists the objects of a tree on disk in the order of publication, which
// is the one in which Nix sends them.
func keysOf(t *testing.T, dir string) []layout.Key {
	t.Helper()
	tree, err := layout.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	byKind := map[layout.Kind][]layout.Key{}
	for info, err := range tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		byKind[info.Key.Kind()] = append(byKind[info.Key.Kind()], info.Key)
	}
	var all []layout.Key
	for kind := range layout.KindPrivate {
		all = append(all, byKind[kind]...)
	}
	return all
}

const (
	oldNix = "User-Agent: curl/7.88.1 Nix/2.8.0"
	newNix = "User-Agent: curl/8.23.0 Nix/2.34.8"
)

// A recorder remembers what it was told.
type recorder struct {
	mu       sync.Mutex
	requests []string // method class status
	uploads  []string // result kind
}

func (r *recorder) Request(method, class string, status int, in, out int64, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, method+" "+class+" "+http.StatusText(status))
}

func (r *recorder) Upload(result string, kind layout.Kind, n int64, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uploads = append(r.uploads, result+" "+kind.String())
}

func (r *recorder) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.uploads) == 0 {
		return ""
	}
	return r.uploads[len(r.uploads)-1]
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

// A fakeInbox answers as it is told.
type fakeInbox struct {
	layout.Lister
	piecewise
	check func(layout.Key) error
	spent *int   // by Afford, which fails if it is negative
	made  *int64 // what Made was told
	take  func(layout.Key, io.Reader) (inbox.Outcome, error)
}

func (f fakeInbox) Check(_ context.Context, key layout.Key, _ inbox.Options) error {
	if f.check == nil {
		return nil
	}
	return f.check(key)
}

func (f fakeInbox) Put(_ context.Context, key layout.Key, from io.Reader, _ inbox.Options) (inbox.Outcome, error) {
	return f.take(key, from)
}

func (f fakeInbox) ForNix() layout.Reader { return f.Lister }

func (f fakeInbox) Stored(ctx context.Context, hashes []string) ([]bool, error) {
	stored := make([]bool, len(hashes))
	for i, hash := range hashes {
		var err error
		if _, stored[i], err = layout.Lookup(ctx, f.Lister, layout.NarInfoKeyOf(hash)); err != nil {
			return nil, err
		}
	}
	return stored, nil
}

func (f fakeInbox) Afford(_ context.Context, n int) error {
	switch {
	case f.spent == nil:
	case *f.spent < 0:
		return share.ErrBusy
	default:
		*f.spent += n
	}
	return nil
}

func (f fakeInbox) Made(_ context.Context, bytes int64) {
	if f.made != nil {
		*f.made += max(bytes, 0)
	}
}

func (f fakeInbox) RoomForRecord(context.Context, int64) error { return nil }

func newServer(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}
