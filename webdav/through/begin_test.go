package through

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// Readers see nothing of a file that does not begin like a NAR before it was checked: what is
// at a URL that an upstream names may not be for them.
func TestBeginning(t *testing.T) {
	nar := treetest.Closure(t).Named("app").NAR
	secret := []byte(strings.Repeat("token = hunter2\n", 10_000))
	packed := func(m compress.Method) []byte {
		t.Helper()
		pool := compress.NewPool(1)
		defer pool.Close()
		var out bytes.Buffer
		w, err := pool.NewWriter(t.Context(), &out, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(nar); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	zstd := packed(compress.Zstd)
	for _, test := range []struct {
		name   string
		method compress.Method
		file   []byte
		shown  bool
	}{
		{"bare", compress.None, nar, true},
		{"xz", compress.Xz, packed(compress.Xz), true},
		{"zstd", compress.Zstd, zstd, true},
		{"zstd after a frame to pass over", compress.Zstd, append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), zstd...), true},
		{"a text as bare", compress.None, secret, false},
		{"a text as zstd", compress.Zstd, secret, false},
		{"a text as xz", compress.Xz, secret, false},
		{"a text as bzip2", compress.Bzip2, secret, false},
		{"a text as lz4", compress.Lz4, secret, false},
		{"a text as gzip", compress.Gzip, secret, false},
		{"a text as brotli", compress.Brotli, secret, false},
		{"another compression", compress.Xz, zstd, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, err := layout.SpoolFor(treetest.OpenDir(t, t.TempDir()), "").Create()
			if err != nil {
				t.Fatal(err)
			}
			defer file.Discard()
			ft := &fetch{more: make(chan struct{}), method: test.method, size: int64(len(test.file)), users: 1}
			defer ft.end(io.ErrUnexpectedEOF)
			for piece := range bytes.SplitSeq(test.file, nil) {
				if _, err := file.Write(piece); err != nil {
					t.Fatal(err)
				}
				if ft.spooled(file, file.Size()); file.Size() == 1000 || file.Size() == int64(len(test.file)) {
					break
				}
			}
			if n := ft.visible(); (n > 0) != test.shown {
				t.Errorf("a reader may have %d of the first %d bytes", n, file.Size())
			}
		})
	}
}

// A record may say a wrong size of its file: Nix does not mind, and it is not signed for that.
func TestWrongFileSize(t *testing.T) {
	up := newCache(t, "up-1")
	n := treetest.Record(t, up.Tree, "app")
	size := n.FileSize
	n.FileSize = 500
	treetest.PutText(t, up.Tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
	tr := newTrial(t, up)
	if status, text, err := tr.get(t, tr.record(t, n.Path).URL); status != 200 || err != nil || int64(len(text)) != size {
		t.Errorf("%d, %d bytes of %d, %v", status, len(text), size, err)
	}
	tr.settled(t)
	if got := treetest.Record(t, tr.tree, "app"); got.FileSize != size {
		t.Errorf("the tree's record says %d bytes", got.FileSize)
	}
}

// A body without an end is not stored to the end of the disk, whatever the record leaves out
// or says of the file.
func TestEndlessFile(t *testing.T) {
	for name, change := range map[string]func(*layout.NarInfo){
		"neither hash nor size": func(n *layout.NarInfo) { n.FileHash, n.FileSize = layout.Hash{}, 0 },
		"no hash":               func(n *layout.NarInfo) { n.FileHash = layout.Hash{} },
		"no size":               func(n *layout.NarInfo) { n.FileSize = 0 },
		"a huge size":           func(n *layout.NarInfo) { n.FileSize = 1 << 60 },
		"a huge size, no hash":  func(n *layout.NarInfo) { n.FileHash, n.FileSize = layout.Hash{}, 1<<60 },
	} {
		t.Run(name, func(t *testing.T) {
			up := newCache(t, "up-1")
			n := treetest.Record(t, up.Tree, "app")
			change(n)
			treetest.PutText(t, up.Tree, layout.NarInfoKey(n.Path), string(n.Marshal(layout.DefaultStoreDir)))
			up.unsized = true
			var came atomic.Int64
			up.set(onNARs(func(ctx context.Context, body io.ReadCloser) (io.ReadCloser, error) {
				return struct {
					io.Reader
					io.Closer
				}{layout.CountReader(layout.CancelReader(ctx, io.MultiReader(body, &endless{left: 1 << 30})), &came), body}, nil
			}))
			tr := newTrial(t, up)
			if status, _, err := tr.get(t, tr.record(t, n.Path).URL); status == 200 && err == nil {
				t.Error("it came to an end")
			}
			tr.nothing(t, n.Path)
			if most := mostFile(n) + 1<<20; came.Load() > most {
				t.Errorf("%d bytes were read, want %d at most", came.Load(), most)
			}
			if tr.counted.of(Wrong) != 1 {
				t.Errorf("counted: %v", tr.counted.all)
			}
		})
	}
}

// endless is a long run of zeros.
type endless struct{ left int }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.left)
	clear(p[:n])
	e.left -= n
	return n, nil
}
