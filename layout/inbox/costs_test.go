package inbox

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// TestGoldenCounts: what an upload costs. No NAR is read back.
func TestGoldenCounts(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	var gets []layout.Key
	tr.Inbox.writer.Tree = &watched{Tree: tr.mem, get: func(key layout.Key) { gets = append(gets, key) }}
	seen := map[layout.Key]bool{} // two paths share a NAR
	for _, key := range nixOrder(t, s, false) {
		if key.Kind() == layout.KindRealisation || key.Kind() == layout.KindLog || seen[key] {
			continue
		}
		seen[key] = true
		if _, err := tr.send(key, s.objects[key], true); err != nil {
			t.Fatal(err)
		}
		name := key.Kind().String()
		if key == layout.NarInfoKey(s.path("app")) {
			name = "narinfo of app"
		} else if key.Kind() == layout.KindNarInfo && key != layout.NarInfoKey(s.path("flat")) {
			tr.mem.Counts()
			continue
		}
		want, ok := map[string]treetest.Counts{
			"ls":             {Get: 1},                  // is the path there?
			"debuginfo":      {Get: 1, Stat: 1},         // is the link there? is the NAR?
			"nar":            {Stat: 2, Put: 1},         // is it there? what has it become?
			"narinfo":        {Get: 1, Stat: 1, Put: 2}, // is it there? is its NAR?
			"narinfo of app": {Get: 1, Stat: 3, Put: 2}, // and its two references
		}[name]
		if got := tr.mem.Counts(); ok && got != want {
			t.Errorf("%s costs %+v, want %+v", key, got, want)
		}
	}
	for _, key := range gets {
		if key.Kind() == layout.KindNAR && key != s.nar(t, "selfish") {
			t.Errorf("%s was read back", key)
		}
	}
	// The one address that the first pass cannot prove.
	if !slices.Contains(gets, s.nar(t, "selfish")) {
		t.Error("the address of a path that refers to itself was not proved")
	}
}

type watched struct {
	layout.Tree
	get func(layout.Key)
}

func (w *watched) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	w.get(key)
	return w.Tree.Get(ctx, key)
}

// TestReceiptsAreGivenBack: whatever is forgotten or used, files do not pile up.
func TestReceiptsAreGivenBack(t *testing.T) {
	s := newSample(t)
	for _, memory := range []int64{1, 4 << 10, 1 << 20} {
		spool := &countedSpool{Spool: layout.TempSpool(t.TempDir())}
		tr := newTrial(t, func(c *Config) { c.Memory, c.Writer.Spool = memory, spool })
		for _, key := range nixOrder(t, s, true) {
			if _, err := tr.send(key, s.objects[key], true); err != nil {
				t.Fatal(err)
			}
		}
		tr.send(s.nar(t, "app"), s.objects[s.nar(t, "app")][:1000], false)
		tr.Close()
		if n := spool.open.Load(); n != 0 {
			t.Errorf("memory %d: %d files were not given back", memory, n)
		}
	}
}

type countedSpool struct {
	layout.Spool
	open atomic.Int64
}

func (s *countedSpool) Create() (layout.SpoolFile, error) {
	f, err := s.Spool.Create()
	if err != nil {
		return nil, err
	}
	s.open.Add(1)
	return &countedFile{SpoolFile: f, spool: s}, nil
}

type countedFile struct {
	layout.SpoolFile
	spool *countedSpool
	once  sync.Once
}

func (f *countedFile) Discard() {
	f.once.Do(func() { f.spool.open.Add(-1) })
	f.SpoolFile.Discard()
}
