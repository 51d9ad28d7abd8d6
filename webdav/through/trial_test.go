package through

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

// A cache is an upstream: a whole tree, of which the test changes how it is read.
type cache struct {
	layout.Tree
	key signer.SecretKey

	mu      sync.Mutex
	asked   map[layout.Key]int
	unsized bool // it does not tell the sizes of NARs
	// change may change what is read. It is given what the tree has, and may block.
	change func(ctx context.Context, key layout.Key, body io.ReadCloser) (io.ReadCloser, error)
}

func newCache(t testing.TB, name string) *cache {
	key, err := signer.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	c := &cache{Tree: treetest.OpenDir(t, t.TempDir()), key: key, asked: map[layout.Key]int{}}
	treetest.Populate(t, c.Tree, key)
	return c
}

func (c *cache) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	c.mu.Lock()
	c.asked[key]++
	change := c.change
	c.mu.Unlock()
	body, info, err := c.Tree.Get(ctx, key)
	if err == nil && change != nil {
		body, err = change(ctx, key, body)
	}
	if c.unsized && key.Kind() == layout.KindNAR {
		info.Size = -1
	}
	return body, info, err
}

func (c *cache) questions(key layout.Key) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked[key]
}

func (c *cache) nars() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, times := range c.asked {
		if key.Kind() == layout.KindNAR {
			n += times
		}
	}
	return n
}

func (c *cache) set(change func(ctx context.Context, key layout.Key, body io.ReadCloser) (io.ReadCloser, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change = change
}

// onNARs changes NARs alone.
func onNARs(change func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error)) func(context.Context, layout.Key, io.ReadCloser) (io.ReadCloser, error) {
	return func(ctx context.Context, key layout.Key, body io.ReadCloser) (io.ReadCloser, error) {
		if key.Kind() == layout.KindNAR {
			return change(ctx, body)
		}
		return body, nil
	}
}

// A trial is a handler before a tree that is filled from upstreams.
type trial struct {
	*Filler
	tree    *layout.Dir
	inbox   *inbox.Inbox
	handler *webdav.Handler
	ours    signer.SecretKey
	web     *httptest.Server
	serving atomic.Int64 // requests
	counted *counts
}

type counts struct {
	mu  sync.Mutex
	all map[string]int
}

func (c *counts) PulledThrough(result string, _ int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[result]++
}

func (c *counts) of(result string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[result]
}

func newTrial(t *testing.T, caches ...*cache) *trial {
	t.Helper()
	return newTrialWith(t, inbox.Config{}, caches...)
}

// newTrialWith is newTrial with what an inbox may take.
func newTrialWith(t *testing.T, policy inbox.Config, caches ...*cache) *trial {
	t.Helper()
	ours, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{tree: treetest.OpenDir(t, t.TempDir()), ours: ours, counted: &counts{all: map[string]int{}}}
	if _, err := layout.Init(t.Context(), tr.tree, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	up := upstream.Config{Tree: tr.tree, Log: log}
	nars := map[string]layout.Reader{}
	for _, c := range caches {
		url := "https://" + c.key.Public().Name()
		up.Caches = append(up.Caches, upstream.Cache{URL: url, Keys: signer.Trusted{c.key.Public()}, Reader: c})
		nars[url] = c
	}
	ups, err := upstream.Open(t.Context(), up)
	if err != nil {
		t.Fatal(err)
	}
	keys, vouched := []signer.SecretKey{ours}, signer.Trusted{}
	for _, c := range caches {
		vouched = append(vouched, c.key.Public())
	}
	// Clients have to be trusted by others than the upstreams.
	policy.RequireSignature, policy.Known = true, vouched
	policy.Writer, policy.Provided, policy.Log = &layout.Writer{Tree: tr.tree, StoreDir: layout.DefaultStoreDir, Keys: keys}, ups.Provided, log
	tr.inbox, err = inbox.Open(t.Context(), policy)
	if err != nil {
		t.Fatal(err)
	}
	tr.Filler = New(Config{Upstreams: ups, NARs: nars, Inbox: tr.inbox, Tree: tr.tree, Keys: keys, Vouched: vouched, Timeout: 2 * time.Second, Metrics: tr.counted, Log: log})
	tr.handler = webdav.New(webdav.Config{Tree: tr.tree, Through: tr.Filler, Inbox: tr.inbox, Log: log})
	t.Cleanup(func() {
		tr.Filler.Close()
		if err := tr.inbox.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr
}

// client asks once: on a connection that was used before, net/http asks again by itself if
// it breaks before the first byte of an answer.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get asks the handler, and returns the status and what came of the body.
func (tr *trial) get(t testing.TB, path string, header ...string) (status int, body string, whole error) {
	t.Helper()
	if tr.web == nil {
		tr.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tr.serving.Add(1)
			defer tr.serving.Add(-1)
			tr.handler.ServeHTTP(w, r)
		}))
		t.Cleanup(tr.web.Close)
	}
	r, err := http.NewRequestWithContext(t.Context(), "GET", tr.web.URL+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// record asks for the narinfo of a path.
func (tr *trial) record(t testing.TB, path layout.StorePath) *layout.NarInfo {
	t.Helper()
	status, text, err := tr.get(t, string(layout.NarInfoKey(path)))
	if status != 200 || err != nil {
		t.Fatalf("the narinfo of %s: %d, %v", path, status, err)
	}
	n, err := layout.ParseNarInfo([]byte(text), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settled waits until nothing is under way.
func (tr *trial) settled(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		tr.mu.Lock()
		// A request may begin something when its client has all of the answer.
		idle := tr.serving.Load() == 0 && len(tr.fetches) == 0 && len(tr.pending) == 0
		tr.mu.Unlock()
		if idle {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("something is under way for a minute")
		}
	}
}

func (tr *trial) has(t testing.TB, key layout.Key) bool {
	t.Helper()
	_, there, err := layout.Lookup(t.Context(), tr.tree, key)
	if err != nil {
		t.Fatal(err)
	}
	return there
}

// nothing checks that no reader can see a trace of a path.
func (tr *trial) nothing(t testing.TB, path layout.StorePath) {
	t.Helper()
	tr.settled(t)
	for info, err := range tr.tree.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Key != layout.CacheInfoKey {
			t.Errorf("%s is in the tree", info.Key)
		}
	}
	if tr.has(t, layout.NarInfoKey(path)) {
		t.Errorf("the narinfo of %s is in the tree", path)
	}
}

func as(ctx context.Context, c share.Client) context.Context { return share.As(ctx, c) }

// A gate lets bytes through one after the other as the test opens it.
type gate struct {
	io.ReadCloser
	open chan int // bytes that may come
	left int
	ctx  context.Context
}

func (g *gate) Read(p []byte) (int, error) {
	if g.left == 0 {
		select {
		case n, ok := <-g.open:
			if !ok {
				g.left = 1 << 40
			} else {
				g.left = n
			}
		case <-g.ctx.Done():
			return 0, context.Cause(g.ctx)
		}
	}
	n, err := g.ReadCloser.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// changed is a body of other bytes.
func changed(body io.ReadCloser, change func([]byte) []byte) (io.ReadCloser, error) {
	defer body.Close()
	text, err := io.ReadAll(body)
	return io.NopCloser(bytes.NewReader(change(text))), err
}

func newPlaces(n int64) *share.Pool { return share.NewPool(n, time.Minute) }

var errAway = &awayError{}

type awayError struct{}

func (*awayError) Error() string { return "connection refused" }

func absentNAR(context.Context, io.ReadCloser) (io.ReadCloser, error) { return nil, fs.ErrNotExist }

func urlKey(n *layout.NarInfo) layout.Key {
	name, _, _ := strings.Cut(n.URL, "?")
	return layout.Key(name)
}
