package upstream

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// The records that the tree depends on are in the tree, and can be checked
// without the upstream.
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

	// The next process asks no cache, as long as this one is configured.
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
	text, err := layout.ReadAll(t.Context(), u.tree, layout.ProvisionKey(p))
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

// A narinfo that is found rather than put is flushed before it counts: the process
// that put it may have been killed before.
func TestUpstreamFlushes(t *testing.T) {
	u := newUpstreamTrial(t)
	p := storePath("0", "first")
	u.one.set(t, p, u.keyA)
	if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
		t.Fatal(ok, err)
	}
	faulty := &treetest.Faulty{Tree: u.tree, Fault: treetest.Fault{At: 1, Only: func(op treetest.Op, key layout.Key) bool {
		return op == treetest.OpFlush && key == layout.ProvisionKey(p)
	}}}
	c := u.configFirst
	c.Tree = faulty
	u.open(t, c)
	if ok, err := u.Provided(t.Context(), p); ok || err == nil {
		t.Errorf("it could not be flushed, and counts: %v, %v", ok, err)
	}
	for range 2 {
		if ok, err := u.Provided(t.Context(), p); !ok || err != nil {
			t.Errorf("after that: %v, %v", ok, err)
		}
	}
	if n := faulty.Ops(); n != 2 {
		t.Errorf("it was flushed %d times, want 2: once in vain", n)
	}
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
	c.Caches = []Cache{{URL: "https://a.example.org", Keys: signer.Trusted{next.Public()}, Reader: u.one}}
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
	tree := treetest.OpenDir(t, t.TempDir())
	c := Config{Tree: tree, Caches: []Cache{{URL: "https://a.example.org", Reader: &fakeCache{}}}}
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("an upstream without a key was taken")
	}
	if err := tree.Put(t.Context(), layout.UpstreamsKey, layout.Bytes([]byte("{")), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Caches[0].Keys = signer.Trusted{newKey(t, "a-1").Public()}
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("a broken file was written over")
	}
	if _, err := layout.ReadProvision(t.Context(), tree, layout.DefaultStoreDir); err == nil {
		t.Error("a broken file was read")
	}
}
