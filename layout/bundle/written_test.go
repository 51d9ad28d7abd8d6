package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// written is a bundle in memory.
type written []*bytes.Buffer

func (w *written) next() (io.Writer, error) {
	*w = append(*w, &bytes.Buffer{})
	return (*w)[len(*w)-1], nil
}

func (w written) files(parts ...int) (files []File) {
	for _, i := range parts {
		text := w[i].Bytes()
		files = append(files, File{fmt.Sprintf("b.tar.%d", i+1), bytes.NewReader(text), int64(len(text))})
	}
	return files
}

func (w written) all() []File {
	var parts []int
	for i := range w {
		parts = append(parts, i)
	}
	return w.files(parts...)
}

func write(t testing.TB, cache layout.Reader, have *State, o Options, names ...string) written {
	t.Helper()
	var roots []layout.Key
	for _, name := range names {
		roots = append(roots, layout.NarInfoKey(treetest.Record(t, cache.(layout.Tree), name).Path))
	}
	plan, err := MakePlan(context.Background(), cache, roots, have, nil)
	if err != nil {
		t.Fatal(err)
	}
	var w written
	if err := plan.Write(context.Background(), cache, w.next, o); err != nil {
		t.Fatal(err)
	}
	return w
}

func open(t *testing.T, files ...File) *Bundle {
	t.Helper()
	b, err := Open(files...)
	if err == nil {
		err = b.Check(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// extracted is the tree that tar xf makes of the parts.
func extracted(t *testing.T, w written) *treetest.Mem {
	t.Helper()
	tree := treetest.NewMem(nil)
	for _, part := range w {
		for r := tar.NewReader(bytes.NewReader(part.Bytes())); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(h.Name, "nixstatic-bundle") {
				continue
			}
			treetest.PutText(t, tree, layout.Key(h.Name), string(text))
		}
	}
	return tree
}

func without(all map[layout.Key]string, kinds ...layout.Kind) map[layout.Key]string {
	maps.DeleteFunc(all, func(key layout.Key, _ string) bool { return slices.Contains(kinds, key.Kind()) })
	return all
}
