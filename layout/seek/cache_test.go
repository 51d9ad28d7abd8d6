package seek_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/layout/seek"
)

// The files of the path that the tests read. Three of them are larger than a frame.
var contents = func() map[string]string {
	r := rand.NewChaCha8([32]byte{1})
	noise := func(n int) string {
		b := make([]byte, n)
		r.Read(b)
		return string(b)
	}
	return map[string]string{
		"a":             noise(3 << 19),
		"bin/run":       "#!/bin/sh\n", // executable
		"bin/zero":      "",
		"lib/large":     noise(5<<19 + 3),
		"lib/small":     "small\n",
		"lib/sub/small": "another\n",
		"z\xff":         "a name that is not UTF-8\n",
		"z/last":        noise(10_000),
	}
}()

// archive returns the NAR of those files, and of the links beside them.
func archive(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range contents {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if name == "bin/run" {
			mode = 0o755
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": "bin", "lib/link": "../bin/run"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := nar.Dump(context.Background(), &out, dir); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// framed compresses a NAR in frames of that many bytes.
func framed(t testing.TB, data []byte, size int) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for piece := range slices.Chunk(data, size) {
		file = z.EncodeAll(piece, file)
	}
	return file
}

const path = layout.StorePath("00000000000000000000000000000000-files")

// A cached is a tree in a directory with one path. It counts the bytes of NARs that are read.
type cached struct {
	*layout.Dir
	read atomic.Int64
}

func (c *cached) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, info, err := c.Dir.Get(ctx, key)
	if err == nil && key.Kind() == layout.KindNAR {
		body = &counted{body, body.(io.Seeker), &c.read}
	}
	return body, info, err
}

type counted struct {
	io.ReadCloser
	io.Seeker
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// newCache makes a tree with the NAR in a file of that method.
func newCache(t testing.TB, method compress.Method, file []byte) (*cached, *layout.NarInfo) {
	t.Helper()
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := layout.Init(context.Background(), dir, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	w := &layout.Writer{Tree: dir, StoreDir: layout.DefaultStoreDir}
	packed, err := w.Keep(context.Background(), nil, method, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(context.Background(), []layout.Item{{Info: layout.PathInfo{Path: path}, Packed: packed}}); err != nil {
		t.Fatal(err)
	}
	c := &cached{Dir: dir}
	n, err := seek.Record(context.Background(), c, path.Hash(), layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

// relist puts another listing; nil removes it.
func (c *cached) relist(t testing.TB, text []byte) {
	t.Helper()
	var err error
	if text == nil {
		err = c.Delete(context.Background(), layout.ListingKey(path))
	} else {
		err = c.Put(context.Background(), layout.ListingKey(path), layout.Bytes(text), layout.PutOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c *cached) cat(t testing.TB, n *layout.NarInfo, file string, whole bool) (string, seek.Read, error) {
	t.Helper()
	a, err := seek.Open(context.Background(), c, n)
	if err != nil {
		t.Fatal(err)
	}
	a.Whole = whole
	var out bytes.Buffer
	read, err := a.WriteFile(context.Background(), &out, file)
	return out.String(), read, err
}

func gzipped(t testing.TB, m compress.Method, data []byte) []byte {
	t.Helper()
	pool := compress.NewPool(1)
	defer pool.Close()
	var out bytes.Buffer
	z, err := pool.NewWriter(context.Background(), &out, m, 1)
	if err == nil {
		_, err = z.Write(data)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
