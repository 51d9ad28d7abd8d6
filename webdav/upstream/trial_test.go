package upstream

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// A fakeCache answers with records, or with an error, and counts the questions.
type fakeCache struct {
	mu      sync.Mutex
	records map[layout.Key][]byte
	err     error
	asked   int
	slow    chan struct{} // nil: answers at once
	under   atomic.Int64  // questions that wait for it
}

func (c *fakeCache) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if c.slow != nil {
		c.under.Add(1)
		defer c.under.Add(-1)
		select {
		case <-c.slow:
		case <-ctx.Done():
			return nil, layout.Info{}, ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.err != nil {
		return nil, layout.Info{}, c.err
	}
	text, ok := c.records[key]
	if !ok {
		return nil, layout.Info{}, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(text)), layout.Info{Key: key, Size: int64(len(text))}, nil
}

func (c *fakeCache) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	body, info, err := c.Get(ctx, key)
	if err == nil {
		body.Close()
	}
	return info, err
}

func (c *fakeCache) set(t testing.TB, path layout.StorePath, keys ...signer.SecretKey) {
	t.Helper()
	n := &layout.NarInfo{PathInfo: layout.PathInfo{Path: path, NarHash: layout.Hash{1}, NarSize: 120},
		URL: "nar/x.nar.xz", Compression: "xz"}
	if err := n.Sign(layout.DefaultStoreDir, keys); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		c.records = map[layout.Key][]byte{}
	}
	c.records[layout.NarInfoKey(path)] = n.Marshal(layout.DefaultStoreDir)
}

func newKey(t testing.TB, name string) signer.SecretKey {
	t.Helper()
	key, err := signer.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func storePath(c string, name string) layout.StorePath {
	return layout.StorePath(strings.Repeat(c, 32) + "-" + name)
}

// An upstreamTrial is two upstreams with a key each, and a clock.
type upstreamTrial struct {
	*Upstreams
	tree        *layout.Dir
	one, two    *fakeCache
	keyA, keyB  signer.SecretKey
	log         *bytes.Buffer
	mu          sync.Mutex
	clock       time.Time
	configBoth  Config
	configFirst Config
}

func newUpstreamTrial(t *testing.T) *upstreamTrial {
	t.Helper()
	u := &upstreamTrial{tree: treetest.OpenDir(t, t.TempDir()), one: &fakeCache{}, two: &fakeCache{}, keyA: newKey(t, "a-1"), keyB: newKey(t, "b-1"),
		log: &bytes.Buffer{}, clock: time.Now()}
	a := Cache{URL: "https://a.example.org", Keys: signer.Trusted{u.keyA.Public()}, Reader: u.one}
	b := Cache{URL: "https://b.example.org", Keys: signer.Trusted{u.keyB.Public()}, Reader: u.two}
	u.configBoth = Config{Tree: u.tree, Caches: []Cache{a, b}, Timeout: time.Minute,
		Log: slog.New(slog.NewTextHandler(u.log, nil))}
	u.configFirst = u.configBoth
	u.configFirst.Caches = u.configBoth.Caches[:1]
	u.open(t, u.configBoth)
	return u
}

func (u *upstreamTrial) open(t *testing.T, c Config) {
	t.Helper()
	var err error
	if u.Upstreams, err = Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	u.Upstreams.now = func() time.Time {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.clock
	}
}

func (u *upstreamTrial) later(d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clock = u.clock.Add(d)
}

func (u *upstreamTrial) wantAsked(t *testing.T, one, two int) {
	t.Helper()
	if got, want := []int{u.one.asked, u.two.asked}, []int{one, two}; !cmp.Equal(want, got) {
		t.Errorf("the caches were asked %v times, want %v", got, want)
	}
}
