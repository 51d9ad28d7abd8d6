package treetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// testReplaceWhileRead opens one version, replaces it half-way, and reads on.
func testReplaceWhileRead(t *testing.T, tree layout.Tree) {
	old, new := bytes.Repeat([]byte("old "), 500_000), bytes.Repeat([]byte("new!"), 500_000)
	put(t, tree, page, old, layout.PutOptions{})
	r, _, err := tree.Get(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 1000)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	put(t, tree, page, new, layout.PutOptions{})
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if got = append(got, rest...); !bytes.Equal(got, old) {
		t.Errorf("a reader of the old version got %d bytes that are not it", len(got))
	}
	want(t, tree, page, new)

	// The same holds for a deletion.
	r, _, err = tree.Get(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := tree.Delete(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	if got, err = io.ReadAll(r); err != nil || !bytes.Equal(got, new) {
		t.Errorf("a reader of the deleted version got %d of %d bytes: %v", len(got), len(new), err)
	}
}

// testWholeOrNothing reads all the while that others replace and delete: every
// version that is seen is one that was put, and is what its Info says.
func testWholeOrNothing(t *testing.T, tree layout.Tree) {
	const versions = 20
	version := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 60_000+i) }
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := w; i < versions; i += 2 {
				if err := tree.Put(t.Context(), page, layout.Bytes(version(i)), layout.PutOptions{}); err != nil {
					t.Errorf("Put: %v", err)
				}
				if i%5 == 0 {
					if err := tree.Delete(t.Context(), page); err != nil {
						t.Errorf("Delete: %v", err)
					}
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readVersion(t.Context(), tree, version); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
}

func readVersion(ctx context.Context, tree layout.Tree, version func(int) []byte) error {
	r, info, err := tree.Get(ctx, page)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(got) == 0 || !bytes.Equal(got, version(int(got[0]-'a'))) {
		return fmt.Errorf("Get: %d bytes that nobody put", len(got))
	}
	if info.Size != int64(len(got)) {
		return fmt.Errorf("Get: %d bytes, its Info says %d", len(got), info.Size)
	}
	return nil
}

// endless is a body of any size that costs no memory: each eight bytes hold a
// number that depends on where they stand.
type endless struct{ size int64 }

func (e endless) Size() int64 { return e.size }

func (e endless) ReadAt(p []byte, off int64) (int, error) {
	if off >= e.size {
		return 0, io.EOF
	}
	var err error
	if rest := e.size - off; int64(len(p)) > rest {
		p, err = p[:rest], io.EOF
	}
	var word [8]byte
	for n := 0; n < len(p); {
		at := off + int64(n)
		binary.LittleEndian.PutUint64(word[:], uint64(at/8)*0x9e3779b97f4a7c15)
		n += copy(p[n:], word[at%8:])
	}
	return len(p), err
}

// failing is a body that says it has size bytes and fails after good of them.
type failing struct {
	size, good int64
	err        error
}

func (f failing) Size() int64 { return f.size }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.good {
		return 0, f.err
	}
	n, _ := endless{f.good}.ReadAt(p, off)
	if n < len(p) {
		return n, f.err
	}
	return n, nil
}
