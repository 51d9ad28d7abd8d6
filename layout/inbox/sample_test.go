package inbox

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// A sample is a whole tree to upload: the closure of treetest, signed by key,
// with logs, realisations of both generations, and a page.
type sample struct {
	key     signer.SecretKey
	paths   *treetest.Paths
	objects map[layout.Key]string
}

func newSample(t testing.TB) *sample {
	t.Helper()
	key, err := signer.Generate("test-1")
	if err != nil {
		t.Fatal(err)
	}
	tree := treetest.NewMem(t)
	s := &sample{key: key, paths: treetest.Populate(t, tree, key)}
	put := func(key layout.Key, body layout.Body) {
		t.Helper()
		if err := tree.Put(context.Background(), key, body, layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	app := s.path("app")
	for _, name := range []string{"app.drv", "we?ird=1+2.drv"} {
		drv, err := layout.ParseStorePath(app.Hash() + "-" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range layout.LogKeys(drv) {
			put(key, layout.Bytes([]byte("building "+name+"\n")))
		}
		put(layout.LogKey(layout.StorePath(app.Hash()+"-empty.drv")), layout.Bytes(nil))
	}
	r := layout.Realisation{OutPath: app, Output: "out", DrvHash: layout.Hash{1}, DrvPath: layout.StorePath(app.Hash() + "-app.drv")}
	if err := r.Sign(key); err != nil {
		t.Fatal(err)
	}
	objects, err := r.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		put(o.Key, o.Body)
	}
	put("index.html", layout.Bytes([]byte("<title>cache</title>\n")))
	s.objects = contents(t, tree)
	return s
}

func (s *sample) path(name string) layout.StorePath { return s.paths.Named(name).Info.Path }

func (s *sample) keys() []layout.Key { return slices.Sorted(maps.Keys(s.objects)) }

// narInfo returns the record of a path.
func (s *sample) narInfo(t testing.TB, name string) *layout.NarInfo {
	t.Helper()
	n, err := layout.ParseNarInfo([]byte(s.objects[layout.NarInfoKey(s.path(name))]), "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// nar returns the key of a path's NAR.
func (s *sample) nar(t testing.TB, name string) layout.Key {
	t.Helper()
	key, err := s.narInfo(t, name).NARKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// contents returns the public objects of a tree.
func contents(t testing.TB, tree layout.Tree) map[layout.Key]string {
	t.Helper()
	found := map[layout.Key]string{}
	for info, err := range tree.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		text, err := layout.ReadAll(context.Background(), tree, info.Key)
		if err != nil {
			t.Fatal(err)
		}
		found[info.Key] = string(text)
	}
	return found
}

// trial is an inbox on a tree of its own.
type trial struct {
	*Inbox
	tb   testing.TB
	cfg  Config
	tree layout.Tree
	mem  *treetest.Mem // nil if tree is of another kind
	log  *bytes.Buffer
}

// newTrial opens an inbox on an empty tree in memory; edit may change the
// configuration.
func newTrial(tb testing.TB, edit func(*Config)) *trial {
	tb.Helper()
	mem := treetest.NewMem(tb)
	if _, err := layout.Init(context.Background(), mem, layout.DefaultCacheInfo()); err != nil {
		tb.Fatal(err)
	}
	tr := trialOn(tb, mem, edit)
	tr.mem = mem
	mem.Counts()
	return tr
}

func trialOn(tb testing.TB, tree layout.Tree, edit func(*Config)) *trial {
	tb.Helper()
	pool := compress.NewPool(1)
	tb.Cleanup(pool.Close)
	tr := &trial{tb: tb, tree: tree, log: &bytes.Buffer{}}
	tr.cfg = Config{
		Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Pool: pool, Spool: layout.TempSpool(tb.TempDir())},
		Log:    slog.New(slog.NewTextHandler(tr.log, nil)),
	}
	if edit != nil {
		edit(&tr.cfg)
	}
	tr.restart()
	tb.Cleanup(func() { tr.Close() })
	return tr
}

// restart closes the inbox, if there is one, and opens the next on the same tree.
func (tr *trial) restart() {
	tr.tb.Helper()
	if tr.Inbox != nil {
		tr.Close()
	}
	b, err := Open(context.Background(), tr.cfg)
	if err != nil {
		tr.tb.Fatal(err)
	}
	tr.Inbox = b
}

// send puts an object, with its size announced.
func (tr *trial) send(key layout.Key, body string, strict bool) (Outcome, error) {
	return tr.Put(context.Background(), key, strings.NewReader(body), Options{Strict: strict, Size: int64(len(body))})
}

// must puts an object and wants this outcome.
func (tr *trial) must(key layout.Key, body string, strict bool, want Outcome) {
	tr.tb.Helper()
	if got, err := tr.send(key, body, strict); err != nil || got != want {
		tr.tb.Errorf("put %s: %v, %v, want %v", key, got, err, want)
	}
}

// refused puts an object and wants it refused, with nothing changed.
func (tr *trial) refused(key layout.Key, body string, strict bool, want Reason) {
	tr.tb.Helper()
	before := contents(tr.tb, tr.tree)
	got, err := tr.send(key, body, strict)
	if reasonOf(err) != want {
		tr.tb.Errorf("put %s: %v, %v, want it refused: %s", key, got, err, want)
	} else if msg := err.Error(); len(msg) > maxMsg || strings.ContainsAny(msg, "\n\r") || len(msg) < 20 {
		tr.tb.Errorf("put %s: refused with %q", key, msg)
	}
	if diff := cmp.Diff(before, contents(tr.tb, tr.tree)); diff != "" {
		tr.tb.Errorf("put %s was refused and changed the tree:\n%s", key, diff)
	}
}

// wantTree wants exactly these public objects, nothing held, and a tree that
// fsck finds whole to the last byte.
func (tr *trial) wantTree(want map[layout.Key]string, o fsck.Options) {
	tr.tb.Helper()
	if diff := cmp.Diff(want, contents(tr.tb, tr.tree)); diff != "" {
		tr.tb.Errorf("the tree is another one (-want +got):\n%.4000s", diff)
	}
	for info, err := range tr.tree.List(context.Background(), layout.HeldPrefix) {
		tr.tb.Errorf("still held: %s, %v", info.Key, err)
	}
	o.Deep = true
	if err := fsck.Whole(context.Background(), tr.tree, o); err != nil {
		tr.tb.Errorf("fsck: %v", err)
	}
}

// read returns what the overlay shows.
func (tr *trial) read(key layout.Key) string {
	tr.tb.Helper()
	body, info, err := tr.Get(context.Background(), key)
	if err != nil {
		tr.tb.Errorf("get %s: %v", key, err)
		return ""
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil || int64(len(text)) != info.Size || info.Key != key {
		tr.tb.Errorf("get %s: %d bytes, %v, described as %+v", key, len(text), err, info)
	}
	return string(text)
}
