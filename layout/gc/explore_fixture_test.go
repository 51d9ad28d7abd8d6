package gc_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The world of the search: y, x and their NARs are old garbage in a tree, and so
// is what clients are about to push or have pushed before.
//
//	x refers to y
//	p refers to x, and is pushed by clients that have x already
//	z has the NAR of x, and is pushed by clients that need not send that
//	r is pinned
type fixture struct {
	tree    *treetest.Mem // with y, x and r
	objects map[layout.Key][]byte
	infos   map[string]layout.NarInfo

	inboxes    []*inbox.Inbox // that are open
	complaints bytes.Buffer   // of theirs
}

func path(name string) layout.StorePath {
	return layout.StorePath(strings.Repeat(name, 32) + "-" + name)
}

// newFixture makes it at the time at which each schedule begins.
func newFixture(t *testing.T) (f *fixture) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f = makeFixture(t) })
	return f
}

func makeFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{objects: map[layout.Key][]byte{}, infos: map[string]layout.NarInfo{}}
	all := treetest.NewMem(t)
	w := &layout.Writer{Tree: all, StoreDir: layout.DefaultStoreDir, Method: "none"}
	ctx := context.Background()
	add := func(tree layout.Tree, name, content string, refs ...layout.StorePath) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		info := layout.PathInfo{Path: path(name), References: refs}
		packed, err := w.Pack(ctx, nil, func(out io.Writer) error { return nar.Dump(ctx, out, file) })
		if err != nil {
			t.Fatal(err)
		}
		info.NarHash, info.NarSize = packed.NarHash, packed.NarSize
		w := *w
		w.Tree = tree
		if err := w.Add(ctx, []layout.Item{{Info: info, Packed: packed}}); err != nil {
			t.Fatal(err)
		}
	}
	f.tree = treetest.NewMem(t)
	for _, tree := range []layout.Tree{all, f.tree} {
		if _, err := layout.Init(ctx, tree, layout.DefaultCacheInfo()); err != nil {
			t.Fatal(err)
		}
		add(tree, "y", "y")
		add(tree, "x", "k", path("y"))
		add(tree, "r", "r")
	}
	add(all, "p", "p", path("x"))
	add(all, "z", "k")
	for key, text := range treetest.Contents(t, all) {
		f.objects[key] = []byte(text)
	}
	for n := range treetest.Records(t, all) {
		f.infos[n.Path.Name()] = *n
	}
	if _, err := gc.Set(ctx, f.tree, gc.PinChange{Name: "r", Paths: []layout.StorePath{path("r")}}); err != nil {
		t.Fatal(err)
	}
	treetest.PutText(t, f.tree, layout.PlanKey, `{"epoch": 1, "nonce": "first", "keepYoung": 2592000}`)
	return f
}

// source is a store that has everything.
type source struct{ f *fixture }

func (s source) StoreDir() string { return layout.DefaultStoreDir }

func (s source) Infos(_ context.Context, paths []layout.StorePath) ([]layout.PathInfo, error) {
	var infos []layout.PathInfo
	for _, p := range paths {
		infos = append(infos, s.f.infos[p.Name()].PathInfo)
	}
	return infos, nil
}

func (s source) WriteNAR(_ context.Context, p layout.StorePath, w io.Writer) error {
	n := s.f.infos[p.Name()]
	key, err := n.NARKey()
	if err == nil {
		_, err = w.Write(s.f.objects[key])
	}
	return err
}
