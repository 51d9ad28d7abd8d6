package layout_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// TestExtraIsPassedOn: a path that is written anew, and one that is there already, keep the
// lines that mean nothing here, up to a bound.
func TestExtraIsPassedOn(t *testing.T) {
	tree := treetest.NewMem(t)
	pool := compress.NewPool(1)
	defer pool.Close()
	w := &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: pool}
	c := treetest.Closure(t)
	for i := range c.Paths {
		c.Paths[i].Info.Extra = []string{`Provenance: {"a":1}`}
	}
	if err := c.Add(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for n := range 400 { // by as many exports as there are
		if n > 0 && n%100 != 0 {
			continue
		}
		c := treetest.Closure(t)
		for i := range c.Paths {
			c.Paths[i].Info.Extra = []string{"Sig: pq-1:" + strings.Repeat("A", 4000+4*n)}
		}
		if err := c.Add(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range c.Paths {
		n := treetest.Record(t, tree, p.Info.Path.Name())
		size := 0
		for _, line := range n.Extra {
			size += len(line) + 1
		}
		if len(n.Extra) < 3 || n.Extra[0] != `Provenance: {"a":1}` || size > 16<<10 {
			t.Errorf("%s keeps %d lines of %d bytes", p.Info.Path, len(n.Extra), size)
		}
	}
}

// TestSignRealisations: each generation is signed in its own form, and keeps what is not
// known here.
func TestSignRealisations(t *testing.T) {
	key, err := signer.Generate("ours-1")
	if err != nil {
		t.Fatal(err)
	}
	id := "sha256:" + strings.Repeat("0", 63) + "1!out"
	out := "00000000000000000000000000000000-out"
	drv := "11111111111111111111111111111111-x.drv"
	const foreign = "pq-1:AAAA"
	old := layout.Key("realisations/" + id + ".doi")
	trace := layout.Key("build-trace-v2/" + drv + "/out.doi")
	tree := treetest.NewMem(nil)
	treetest.PutText(t, tree, layout.CacheInfoKey, string(layout.DefaultCacheInfo().Marshal()))
	treetest.PutText(t, tree, old, fmt.Sprintf(`{"dependentRealisations":{},"future":[1],"id":%q,"outPath":%q,"signatures":[%q]}`, id, out, foreign))
	treetest.PutText(t, tree, trace, fmt.Sprintf(`{"future":{"a":"<"},"outPath":%q,"signatures":[{"keyName":"pq-1","sig":"AAAA"}]}`, out))
	before := treetest.Contents(t, tree)
	var dry, done, again layout.SignProgress
	for _, p := range []struct {
		progress *layout.SignProgress
		dry      bool
	}{{&dry, true}, {&done, false}, {&again, false}} {
		if err := layout.SignAll(t.Context(), tree, layout.DefaultStoreDir, []signer.SecretKey{key}, p.dry, p.progress); err != nil {
			t.Fatal(err)
		}
		if p.dry && treetest.Contents(t, tree)[old] != before[old] {
			t.Error("a dry run signs")
		}
	}
	if dry.SignedRealisations.Load() != 2 || done.SignedRealisations.Load() != 2 || again.SignedRealisations.Load() != 0 || again.Realisations.Load() != 2 {
		t.Errorf("%+v %+v %+v", &dry, &done, &again)
	}
	public, err := signer.ParseTrusted(key.Public().String())
	if err != nil {
		t.Fatal(err)
	}
	for k, print := range map[layout.Key]func(*layout.Realisation) string{old: (*layout.Realisation).Fingerprint, trace: (*layout.Realisation).TraceFingerprint} {
		text := treetest.Contents(t, tree)[k]
		r, err := layout.ParseRealisation(k, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := public.Verify(print(&r), append(r.Sigs, r.TraceSigs...)); !ok {
			t.Errorf("%s has no good signature of ours: %s", k, text)
		}
		if !strings.Contains(text, "future") || !strings.Contains(text, "AAAA") || !json.Valid([]byte(text)) {
			t.Errorf("%s has lost something: %s", k, text)
		}
	}
}
