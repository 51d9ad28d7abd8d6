package export

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

func TestCacheLog(t *testing.T) {
	tree := treetest.NewMem(t)
	treetest.Populate(t, tree)
	const (
		plain  = layout.StorePath("00000000000000000000000000000000-a+b=c.drv")
		odd    = layout.StorePath("11111111111111111111111111111111-we?ird.drv")
		short  = layout.StorePath("22222222222222222222222222222222-we?ird.drv")
		absent = layout.StorePath("33333333333333333333333333333333-x?.drv")
	)
	for key, text := range map[layout.Key]string{
		layout.LogKey(plain):                             "plain log\n",
		layout.LogKey(odd):                               "odd log\n",
		"log/22222222222222222222222222222222-we":        "short log\n",
		"log/11111111111111111111111111111111-we":        "never this\n",
		"log/00000000000000000000000000000000-a b=c.drv": "nor this\n",
	} {
		tree.Damage(key, func([]byte) []byte { return []byte(text) })
	}
	eachReader(t, tree, func(t *testing.T, c *Cache) {
		for drv, want := range map[layout.StorePath]string{plain: "plain log\n", odd: "odd log\n", short: "short log\n"} {
			body, err := c.Log(t.Context(), drv)
			if err != nil {
				t.Errorf("%s: %v", drv, err)
				continue
			}
			got, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil || string(got) != want {
				t.Errorf("%s: %q, %v", drv, got, err)
			}
		}
		if _, err := c.Log(t.Context(), absent); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent log: %v", err)
		}
	})
}

func TestCacheRealisations(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	info := closure.Named("source").Info
	var want []layout.Key
	for _, r := range []layout.Realisation{
		{OutPath: info.Path, Output: "out", DrvHash: info.NarHash, Sigs: []string{"k-1:" + sig64}},
		{OutPath: info.Path, Output: "out", DrvPath: "00000000000000000000000000000000-x.drv"},
		{OutPath: closure.Named("flat").Info.Path, Output: "out", DrvHash: closure.Named("flat").Info.NarHash},
	} {
		for key, text := range treetest.Texts(t, r) {
			tree.Damage(key, func([]byte) []byte { return []byte(text) })
			if r.OutPath == info.Path {
				want = append(want, key)
			}
		}
	}
	tree.Damage("realisations/sha256:00!out.doi", func([]byte) []byte { return []byte("broken") })
	tree.Damage("realisations/README", func([]byte) []byte { return []byte("foreign") })

	c := newCache(t, tree)
	tree.Counts()
	var got []layout.Key
	for range 2 {
		got = nil
		list, err := c.Realisations(t.Context(), info)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			objects, err := r.Objects()
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				got = append(got, o.Key)
			}
		}
	}
	if len(want) != 2 || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("realisations %q, want %q", got, want)
	}
	if n := tree.Counts(); n.List != 2 {
		t.Errorf("listed %d times for two questions, want 2: once each generation", n.List)
	}
	if list, err := c.Realisations(t.Context(), closure.Named("lib").Info); err != nil || len(list) != 0 {
		t.Errorf("lib: %v, %v", list, err)
	}
	h := openHTTP(t, webtest.Serve(t, webtest.TreeServer(tree)).URL, httpcache.Options{})
	if list, err := newCache(t, h).Realisations(t.Context(), info); err != nil || len(list) != 0 {
		t.Errorf("over HTTP: %v, %v", list, err)
	}
}

// sig64 is the length of a signature, and signs nothing.
const sig64 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

// A realisation that no trusted key has signed comes along, and gains no signature of ours.
func TestRealisationsAreNotVouchedFor(t *testing.T) {
	theirs, ours := generate(t, "theirs-1"), generate(t, "ours-1")
	for _, signed := range []bool{false, true} {
		source := treetest.NewMem(nil)
		closure := treetest.Populate(t, source, theirs)
		builtOnce(t, source)
		r := layout.Realisation{OutPath: closure.Named("source").Info.Path, Output: "out", DrvPath: "dddddddddddddddddddddddddddddddd-we?ird.drv", DrvHash: closure.Named("source").Info.NarHash}
		if signed {
			if err := r.Sign(theirs); err != nil {
				t.Fatal(err)
			}
			for key, text := range treetest.Texts(t, r) {
				treetest.PutText(t, source, key, text)
			}
		}
		dest := treetest.NewMem(t)
		w := &layout.Writer{Tree: dest, StoreDir: layout.DefaultStoreDir, Keys: []signer.SecretKey{ours}}
		im := &Run{Source: newCache(t, source), Writer: w, Trust: signer.Trust{Keys: signer.Trusted{theirs.Public()}}, Progress: &Progress{}}
		plan, err := im.Plan(t.Context(), []layout.StorePath{r.OutPath})
		if err == nil {
			err = im.Do(t.Context(), plan)
		}
		if err != nil {
			t.Fatal(err)
		}
		for key := range treetest.Texts(t, r) {
			text, err := layout.ReadAll(t.Context(), dest, key)
			if err != nil {
				t.Fatal(err)
			}
			got, err := layout.ParseRealisation(key, text)
			if err != nil {
				t.Fatal(err)
			}
			if has := strings.Contains(strings.Join(append(got.Sigs, got.TraceSigs...), " "), "ours-1:"); has != signed {
				t.Errorf("signed by a trusted key: %v, by ours: %v in %s", signed, has, key)
			}
		}
	}
}

func generate(t *testing.T, name string) signer.SecretKey {
	t.Helper()
	key, err := signer.Generate(name)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
