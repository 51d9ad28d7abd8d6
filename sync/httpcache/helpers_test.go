package httpcache

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/nixstatic/nixstatic/layout"
)

const (
	testNAR     layout.Key = "nar/1a4n8qcdbqgwxc88b9bdfayrv11z632cdf4f1ibyd04cr748ifx4.nar.zst"
	testNarInfo layout.Key = "6d40jqh1x45qpwz1li3xa10n8hfhxdk9.narinfo"
)

// openHTTP opens a cache that waits for nothing. The pauses it would have made
// are appended to the result.
func openHTTP(t *testing.T, url string, o Options) (*Reader, *[]time.Duration) {
	t.Helper()
	if o.Netrc == "" {
		o.Netrc = os.DevNull
	}
	h, err := Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	var mu sync.Mutex
	pauses := &[]time.Duration{}
	h.again.Sleep = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		defer mu.Unlock()
		*pauses = append(*pauses, d)
		return ctx.Err()
	}
	return h, pauses
}

func zstdBytes(t *testing.T, data []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(data, nil)
}
