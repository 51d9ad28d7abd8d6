package mirror

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(100_000)
		start := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if n, err := io.Copy(io.Discard, limitReader(t.Context(), l, bytes.NewReader(make([]byte, 125_000)))); n != 125_000 || err != nil {
					t.Error(n, err)
				}
			})
		}
		body := limitBody(t.Context(), l, layout.Bytes(bytes.Repeat([]byte("x"), 500_000)))
		if n, err := io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size())); n != 500_000 || err != nil {
			t.Error(n, err)
		}
		all.Wait()
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("a million bytes at 100 kB/s took %v", took)
		}
	})
	if r := limitReader(t.Context(), newLimiter(0), strings.NewReader("all")); r == nil {
		t.Error("no limit is no reader")
	} else if text, err := io.ReadAll(r); string(text) != "all" || err != nil {
		t.Errorf("without a limit: %q, %v", text, err)
	}
}
