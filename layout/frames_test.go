package layout_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// narOfFile returns the NAR of a single file of n bytes.
func narOfFile(t *testing.T, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	text := func(s string) {
		out.Write([]byte{byte(len(s)), 0, 0, 0, 0, 0, 0, 0})
		out.WriteString(s)
		out.Write(make([]byte, -len(s)&7))
	}
	for _, s := range []string{"nix-archive-1", "(", "type", "regular", "contents"} {
		text(s)
	}
	out.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), 0, 0, 0, 0})
	for i := range (n + 7) &^ 7 {
		c := byte(0)
		if i < n {
			c = byte(i * i >> 7)
		}
		out.WriteByte(c)
	}
	text(")")
	return out.Bytes()
}

// inFrames compresses data in frames of that many bytes each.
func inFrames(t *testing.T, data []byte, size int) []byte {
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

// seekOf returns what a listing says of frames, and its text.
func seekOf(t *testing.T, listing layout.Body) (*nar.Seek, string) {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(listing, 0, listing.Size()))
	if err != nil {
		t.Fatal(err)
	}
	_, seek, err := nar.ParseSeekable(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	return seek, string(text)
}

// A listing tells of the frames of the NAR's file if there are several, and the same
// whether the file is written, kept or read.
func TestListingTellsOfFrames(t *testing.T) {
	data := narOfFile(t, 33<<20)
	w := &layout.Writer{Tree: treeForPacking(t), StoreDir: layout.DefaultStoreDir, Pool: newPool(t)}
	for _, method := range []compress.Method{compress.Zstd, compress.None, compress.Gzip} {
		w.Method = method
		w.Level = 0
		packed, err := w.Pack(t.Context(), nil, writing(data))
		if err != nil {
			t.Fatal(err)
		}
		seek, written := seekOf(t, packed.Listing())
		if method != compress.Zstd {
			if seek != nil {
				t.Errorf("%s: frames in %s", method, written)
			}
			packed.Discard()
			continue
		}
		file, content := seek.Total()
		if seek.File != packed.FileHash.String() || len(seek.Frames) != 3 || file != packed.FileSize || content != int64(len(data)) ||
			seek.Frames[0].Content != 16<<20 {
			t.Errorf("frames %+v of a file of %d bytes, %s", seek, packed.FileSize, packed.FileHash)
		}
		body := io.NewSectionReader(packed.File(), 0, packed.FileSize)
		again, err := w.Keep(t.Context(), nil, method, body)
		if err != nil {
			t.Fatal(err)
		}
		_, kept := seekOf(t, again.Listing())
		again.Discard()
		if diff := cmp.Diff(written, kept); diff != "" {
			t.Errorf("kept as it is, another listing (-want +got):\n%s", diff)
		}
		body.Seek(0, io.SeekStart)
		found, err := layout.Inspect(t.Context(), body, method, layout.DefaultStoreDir)
		if err != nil || found.Broken != nil {
			t.Fatal(err, found)
		}
		_, read := seekOf(t, found.Listing)
		found.Close()
		if diff := cmp.Diff(written, read); diff != "" {
			t.Errorf("inspected, another listing (-want +got):\n%s", diff)
		}
		packed.Discard()
	}
}

// Frames of others are told of too, and a file of one frame gets no more than Nix
// writes.
func TestListingOfForeignFrames(t *testing.T) {
	data := narOfFile(t, 5<<20)
	w := &layout.Writer{Tree: treeForPacking(t), StoreDir: layout.DefaultStoreDir, Pool: newPool(t)}
	for size, want := range map[int]int{1 << 20: 6, 1 << 19: 6, 3 << 20: 2, 6 << 20: 0} {
		packed, err := w.Keep(t.Context(), nil, compress.Zstd, bytes.NewReader(inFrames(t, data, size)))
		if err != nil {
			t.Fatal(err)
		}
		seek, text := seekOf(t, packed.Listing())
		packed.Discard()
		if want == 0 && (seek != nil || strings.Contains(text, "seek")) || want > 0 && (seek == nil || len(seek.Frames) != want) {
			t.Errorf("frames of %d bytes: %+v, want %d", size, seek, want)
		}
	}
}

func treeForPacking(t *testing.T) layout.Tree {
	t.Helper()
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	if _, err := layout.Init(context.Background(), dir, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	return dir
}
