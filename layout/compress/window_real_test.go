//go:build real

package compress

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"
)

// The reader asks for the window that each part of a file declares, before it has it.
func TestMemoryIsAskedFor(t *testing.T) {
	data := sample(3*testFrame, 31)
	small, large := withWindow(t, 1<<20, data), withWindow(t, 128<<20, data)
	xzOf := func(dict string) []byte { return run(t, data, "xz", "-c", "--lzma2=dict="+dict) }
	skip := []byte("\x50\x2a\x4d\x18\x05\x00\x00\x00abcde")
	for _, test := range []struct {
		name string
		m    Method
		file []byte
		want []int64 // MiB of window
	}{
		{"zstd", Zstd, small, []int64{1}},
		{"zstd, larger", Zstd, large, []int64{128}},
		{"zstd, smaller first", Zstd, slices.Concat(small, skip, large, small), []int64{1, 128}},
		{"zstd, larger first", Zstd, slices.Concat(skip, large, small), []int64{128}},
		{"xz", Xz, xzOf("1MiB"), []int64{1}},
		{"xz, larger", Xz, xzOf("64MiB"), []int64{64}},
		{"xz, smaller first", Xz, slices.Concat(xzOf("1MiB"), make([]byte, 8), xzOf("64MiB"), xzOf("2MiB")), []int64{1, 64}},
		{"xz, many blocks", Xz, run(t, data, "xz", "-c", "-0", "--block-size=10000", "--x86", "--lzma2=dict=8MiB"), []int64{8}},
		{"br", Brotli, run(t, data, "brotli", "-c", "-q", "5", "--lgwin=24"), []int64{16 + 3}},
		{"br, smaller", Brotli, run(t, data, "brotli", "-c", "-q", "5", "--lgwin=20"), []int64{1 + 3}},
	} {
		var want []int64
		for _, w := range test.want {
			want = append(want, w<<20+overhead)
		}
		got, asked, err := within(test.m, test.file, 1<<40)
		if err != nil || !slices.Equal(asked, want) || len(got)%len(data) != 0 || len(got) == 0 {
			t.Errorf("%s: asked for %d, want %d; %d bytes, %v", test.name, asked, want, len(got), err)
		}
		before := allocated()
		got, asked, err = within(test.m, test.file, want[len(want)-1]-1)
		if grown := allocated() - before; !errors.Is(err, errNoMemory) || errors.Is(err, ErrCorrupt) || !slices.Equal(asked, want) || grown > 16<<20+4*want[0]*int64(len(want)-1) {
			t.Errorf("%s, refused: asked for %d, %d bytes, %v; %d MiB were allocated", test.name, asked, len(got), err, grown>>20)
		}
		if len(want) > 1 && len(got) < len(data) {
			t.Errorf("%s: what comes before the refusal is lost: %d bytes", test.name, len(got))
		}
	}
}

func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// A decoder takes no more than it was granted.
func TestMemoryIsEnough(t *testing.T) {
	data := bytes.Repeat(sample(1<<20, 32), 20)
	for _, test := range []struct {
		m       Method
		command []string
	}{
		{Zstd, []string{"zstd", "-c", "-1", "--long=24"}},
		{Xz, []string{"xz", "-c", "-0", "--lzma2=preset=0,dict=16MiB"}},
		{Gzip, []string{"gzip", "-c", "-1"}},
		{Bzip2, []string{"bzip2", "-c", "-9"}},
		{Brotli, []string{"brotli", "-c", "-q", "1", "--lgwin=24"}},
		{Lz4, []string{"lz4", "-c", "-B7"}},
		{Lz4, []string{"lz4", "-c", "-l"}},
	} {
		file := run(t, data, test.command[0], test.command[1:]...)
		granted := int64(0)
		runtime.GC()
		runtime.GC() // what pools keep is gone after two
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := NewReaderWithin(bytes.NewReader(file), test.m, func(total int64) error { granted = total; return nil })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, int64(len(data))-1); err != nil {
			t.Errorf("%v: %v", test.command, err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > granted || granted == 0 {
			t.Errorf("%v: %d kB in use, %d granted", test.command, used>>10, granted>>10)
		}
		r.Close()
	}
}
