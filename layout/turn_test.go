package layout_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A crowdedSpool counts how many files are written to at the same time.
type crowdedSpool struct {
	layout.Spool
	now, most atomic.Int64
}

func (s *crowdedSpool) Create() (layout.SpoolFile, error) {
	file, err := s.Spool.Create()
	return &crowdedFile{file, s}, err
}

type crowdedFile struct {
	layout.SpoolFile
	spool *crowdedSpool
}

func (f *crowdedFile) Write(b []byte) (int, error) {
	n := f.spool.now.Add(1)
	defer f.spool.now.Add(-1)
	for have := f.spool.most.Load(); n > have && !f.spool.most.CompareAndSwap(have, n); have = f.spool.most.Load() {
	}
	for range 100 {
		runtime.Gosched() // for others to come
	}
	return f.SpoolFile.Write(b)
}

// NARs go by in turns: no client has more than its share of the processor, and one
// that waits for its bytes has none.
func TestNARsTakeTurns(t *testing.T) {
	spool := &crowdedSpool{Spool: layout.TempSpool(t.TempDir())}
	w := &layout.Writer{StoreDir: layout.DefaultStoreDir, Spool: spool, Turns: share.NewPool(2, time.Hour)}
	text := narOfFile(t, 4<<20)
	keep := func(c share.Client, from io.Reader) error {
		packed, err := w.Keep(share.As(t.Context(), c), nil, compress.None, from)
		if err == nil {
			packed.Discard()
		}
		return err
	}
	silent, speak := io.Pipe()
	var slow, all sync.WaitGroup
	for range 3 {
		slow.Go(func() { keep("slow", silent) })
	}
	for i := range 8 {
		all.Go(func() {
			if err := keep(share.Client(fmt.Sprint("client ", i%2)), bytes.NewReader(text)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	speak.CloseWithError(context.Canceled)
	slow.Wait()
	if most := spool.most.Load(); most < 1 || most > 2 {
		t.Errorf("%d NARs went by at the same time", most)
	}
	if _, err := w.Turns.Take(share.As(t.Context(), "last"), 1); err != nil {
		t.Error(err)
	}
}
