package webdav

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// A fakeCache answers with records, or with an error, and counts the questions.
type fakeCache struct {
	mu      sync.Mutex
	records map[layout.Key][]byte
	err     error
	asked   int
	slow    chan struct{} // nil: answers at once
}

func (c *fakeCache) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if c.slow != nil {
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
	configBoth  UpstreamConfig
	configFirst UpstreamConfig
}

func newUpstreamTrial(t *testing.T) *upstreamTrial {
	t.Helper()
	u := &upstreamTrial{tree: emptyDir(t), one: &fakeCache{}, two: &fakeCache{}, keyA: newKey(t, "a-1"), keyB: newKey(t, "b-1"),
		log: &bytes.Buffer{}, clock: time.Now()}
	a := UpstreamCache{URL: "https://a.example.org", Keys: signer.Trusted{u.keyA.Public()}, Reader: u.one}
	b := UpstreamCache{URL: "https://b.example.org", Keys: signer.Trusted{u.keyB.Public()}, Reader: u.two}
	u.configBoth = UpstreamConfig{Tree: u.tree, Caches: []UpstreamCache{a, b}, Timeout: time.Minute,
		Log: slog.New(slog.NewTextHandler(u.log, nil))}
	u.configFirst = u.configBoth
	u.configFirst.Caches = u.configBoth.Caches[:1]
	u.open(t, u.configBoth)
	return u
}

func (u *upstreamTrial) open(t *testing.T, c UpstreamConfig) {
	t.Helper()
	var err error
	if u.Upstreams, err = OpenUpstreams(t.Context(), c); err != nil {
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

func TestUpstreamHas(t *testing.T) {
	u := newUpstreamTrial(t)
	p, q := storePath("0", "first"), storePath("1", "second")
	u.one.set(t, p, u.keyA)
	u.two.set(t, q, u.keyB)
	for range 3 {
		for _, path := range []layout.StorePath{p, q} {
			n, err := u.Has(t.Context(), path.Hash())
			if err != nil || n.Path != path {
				t.Fatalf("%s: %v, %v", path, n, err)
			}
		}
		if _, err := u.Has(t.Context(), strings.Repeat("2", 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("what nobody has: %v", err)
		}
	}
	u.wantAsked(t, 3, 2)
	// Absence is forgotten; what was signed is not.
	u.later(6 * time.Minute)
	r := storePath("2", "third")
	u.two.set(t, r, u.keyB)
	for _, path := range []layout.StorePath{p, q, r} {
		if _, err := u.Has(t.Context(), path.Hash()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	u.wantAsked(t, 4, 3)
}

// A cache's word counts for what its own key signed, and under the right name.
func TestUpstreamRecordsThatDoNotCount(t *testing.T) {
	u := newUpstreamTrial(t)
	p, q, r := storePath("0", "unsigned"), storePath("1", "stranger"), storePath("2", "neighbour")
	u.one.set(t, p)
	u.one.set(t, q, newKey(t, "a-1"))
	u.one.set(t, r, u.keyB) // good if the other cache had said it
	s := storePath("3", "misnamed")
	u.one.set(t, s, u.keyA)
	u.one.records[layout.Key(strings.Repeat("4", 32)+".narinfo")] = u.one.records[layout.NarInfoKey(s)]
	u.one.records[layout.Key(strings.Repeat("5", 32)+".narinfo")] = []byte("<html>\n")
	for _, c := range []string{"0", "1", "2", "4", "5"} {
		if n, err := u.Has(t.Context(), strings.Repeat(c, 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, %v", c, n, err)
		}
	}
	if n := strings.Count(u.log.String(), "does not count"); n != 5 {
		t.Errorf("%d of them are in the log:\n%s", n, u.log)
	}
	// Another name with the same hash is another path.
	if ok, err := u.Provided(t.Context(), storePath("3", "othername")); ok || err != nil {
		t.Errorf("a path of another name: %v, %v", ok, err)
	}
}

// That a cache does not answer is no absence; and it holds nobody up for long.
func TestUpstreamThatIsDown(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.two.set(t, p, u.keyB)
	u.one.err = errors.New("connection refused")
	if _, err := u.Has(t.Context(), p.Hash()); err != nil {
		t.Errorf("what another cache has: %v", err)
	}
	for range 10 {
		_, err := u.Has(t.Context(), strings.Repeat("1", 32))
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a.example.org") || !strings.Contains(err.Error(), "connection refused") {
			t.Fatalf("what nobody else has: %v", err)
		}
		if ok, err := u.Provided(t.Context(), storePath("1", "x")); ok || err == nil {
			t.Fatalf("Provided: %v, %v", ok, err)
		}
	}
	if u.one.asked != maxFailuresInARow {
		t.Errorf("it was asked %d times", u.one.asked)
	}
	u.later(leftAloneFor)
	u.Has(t.Context(), strings.Repeat("1", 32))
	u.Has(t.Context(), strings.Repeat("1", 32))
	if u.one.asked != maxFailuresInARow+1 {
		t.Errorf("after a while it was asked %d times", u.one.asked)
	}
	u.later(leftAloneFor)
	u.one.err = nil
	for range 3 {
		if _, err := u.Has(t.Context(), strings.Repeat("1", 32)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("once it answers again: %v", err)
		}
	}
}

func TestUpstreamTimeout(t *testing.T) {
	u := newUpstreamTrial(t)
	u.one.slow = make(chan struct{})
	c := u.configFirst
	c.Timeout = 10 * time.Millisecond
	u.open(t, c)
	if _, err := u.Has(t.Context(), strings.Repeat("0", 32)); err == nil || errors.Is(err, fs.ErrNotExist) ||
		!strings.Contains(err.Error(), "no answer in 10ms") {
		t.Errorf("no answer in time: %v", err)
	}
}

// Many who ask at once are one question, whoever of them leaves.
func TestUpstreamAskedOnce(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.one.set(t, p, u.keyA)
	u.one.slow = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := u.Has(ctx, p.Hash())
		first <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			if _, err := u.Has(t.Context(), p.Hash()); err != nil {
				t.Error(err)
			}
		})
	}
	close(u.one.slow)
	wait.Wait()
	u.wantAsked(t, 1, 0)
}

// What the tree leans on is in the tree, and can be checked without anyone.
func TestUpstreamProvided(t *testing.T) {
	u := newUpstreamTrial(t)
	p, q := storePath("0", "first"), storePath("1", "second")
	u.one.set(t, p, u.keyA)
	u.two.set(t, q, u.keyB)
	if _, err := u.Has(t.Context(), q.Hash()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
			t.Fatalf("%s: %v, %v", p, ok, err)
		}
	}
	u.wantAsked(t, 2, 1)
	provision := func() *layout.Provision {
		t.Helper()
		v, err := layout.ReadProvision(t.Context(), u.tree, layout.DefaultStoreDir)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	wantProvides := func(path layout.StorePath, want bool) {
		t.Helper()
		if got, err := provision().Provides(t.Context(), path); got != want || err != nil {
			t.Errorf("the tree says of %s: %v, %v", path, got, err)
		}
	}
	wantProvides(p, true)
	wantProvides(q, false) // it was asked for, and nothing leans on it
	wantProvides(storePath("0", "othername"), false)
	want := []layout.RecordedUpstream{
		{URL: "https://a.example.org", Keys: []string{u.keyA.Public().String()}},
		{URL: "https://b.example.org", Keys: []string{u.keyB.Public().String()}},
	}
	if diff := cmp.Diff(want, provision().Upstreams()); diff != "" {
		t.Errorf("upstreams in the tree (-want +got):\n%s", diff)
	}

	// The next process needs to ask nobody, as long as the cache is configured.
	u.one.err, u.two.err = errors.New("down"), errors.New("down")
	u.open(t, u.configFirst)
	if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
		t.Errorf("after a restart: %v, %v", ok, err)
	}
	c := u.configBoth
	c.Caches = c.Caches[1:]
	u.open(t, c)
	if ok, err := u.Provided(t.Context(), p); ok || err == nil {
		t.Errorf("by a cache that is not configured any more: %v, %v", ok, err)
	}
	wantProvides(p, true) // what was published stays as it is
	if diff := cmp.Diff(want, provision().Upstreams()); diff != "" {
		t.Errorf("upstreams in the tree after restarts (-want +got):\n%s", diff)
	}

	// A record that was changed, or is gone, proves nothing.
	text, err := layout.ReadAll(t.Context(), u.tree, layout.ProvisionKey(p), layout.MaxNarInfo)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text, []byte("NarSize: 120"), []byte("NarSize: 121"), 1)
	if err := u.tree.Put(t.Context(), layout.ProvisionKey(p), layout.Bytes(changed), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	wantProvides(p, false)
	u.one.err = nil
	u.open(t, u.configFirst)
	if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
		t.Errorf("a damaged record is fetched again: %v, %v", ok, err)
	}
	wantProvides(p, true)
	if err := u.tree.Delete(t.Context(), layout.ProvisionKey(p)); err != nil {
		t.Fatal(err)
	}
	if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
		t.Errorf("a lost record is written again: %v, %v", ok, err)
	}
	wantProvides(p, true)
}

// A new key of an upstream does not take away what the old one signed.
func TestUpstreamKeyChanges(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.one.set(t, p, u.keyA)
	if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	next := newKey(t, "a-2")
	c := u.configFirst
	c.Caches = []UpstreamCache{{URL: "https://a.example.org", Keys: signer.Trusted{next.Public()}, Reader: u.one}}
	u.open(t, c)
	v, err := layout.ReadProvision(t.Context(), u.tree, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := v.Provides(t.Context(), p); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if got := v.Upstreams()[0].Keys; len(got) != 2 {
		t.Errorf("keys in the tree: %v", got)
	}
}

func TestOpenUpstreamsRefuses(t *testing.T) {
	tree := emptyDir(t)
	c := UpstreamConfig{Tree: tree, Caches: []UpstreamCache{{URL: "https://a.example.org", Reader: &fakeCache{}}}}
	if _, err := OpenUpstreams(t.Context(), c); err == nil {
		t.Error("an upstream without a key was taken")
	}
	if err := tree.Put(t.Context(), layout.UpstreamsKey, layout.Bytes([]byte("{")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Caches[0].Keys = signer.Trusted{newKey(t, "a-1").Public()}
	if _, err := OpenUpstreams(t.Context(), c); err == nil {
		t.Error("a broken file was written over")
	}
	if _, err := layout.ReadProvision(t.Context(), tree, layout.DefaultStoreDir); err == nil {
		t.Error("a broken file was read")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	var a answers
	now := time.Now()
	text := make([]byte, 1<<20)
	for i := range 100 {
		a.put(strings.Repeat(string(rune('a'+i%26)), i+1), text, now, time.Hour)
	}
	if n := len(a.now) + len(a.old); n > 17 || n < 7 {
		t.Errorf("%d answers of 1 MiB are remembered", n)
	}
	a.put("x", nil, now, time.Minute)
	if _, ok := a.get("x", now.Add(time.Minute)); ok {
		t.Error("an answer outlives its time")
	}
	if text, ok := a.get("x", now); !ok || text != nil {
		t.Error("an absence is not remembered")
	}
}
