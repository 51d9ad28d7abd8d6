package compress

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/nixstatic/nixstatic/tests/quick"
)

// framesOf reads a file to its end and returns its parts.
func framesOf(t testing.TB, m Method, file []byte) ([]Frame, []byte) {
	t.Helper()
	z, err := NewReader(bytes.NewReader(file), m)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if z.Frames() != nil {
		t.Error("frames before the end")
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return z.Frames(), data
}

// checkFrames sees to it that each part decompresses to its share of data.
func checkFrames(t testing.TB, m Method, file, data []byte, list []Frame) {
	t.Helper()
	for i, f := range list {
		if f.Compressed > int64(len(file)) || f.Content > int64(len(data)) {
			t.Fatalf("%s: part %d of %d goes beyond the file", m, i, len(list))
		}
		got, err := decompressed(m, file[:f.Compressed])
		if err != nil || !bytes.Equal(got, data[:f.Content]) {
			t.Fatalf("%s: part %d of %d does not decompress to its %d bytes: %v", m, i, len(list), f.Content, err)
		}
		file, data = file[f.Compressed:], data[f.Content:]
	}
	if len(file) > 0 || len(data) > 0 {
		t.Fatalf("%s: %d parts leave %d bytes of the file and %d of the content", m, len(list), len(file), len(data))
	}
}

// The writer and the reader of a file tell the same of its parts.
func TestFrames(t *testing.T) {
	p := testPool(t, 2)
	for _, m := range Writable() {
		for _, n := range []int{1, 1000, 5 << 19} {
			if n > 1000 && (m == Brotli || m != Zstd && quick.Step(2) > 1) {
				continue
			}
			data := sample(n, 7)
			var out bytes.Buffer
			w, err := p.NewWriter(t.Context(), &out, m, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			wrote := w.Frames()
			read, got := framesOf(t, m, out.Bytes())
			if !bytes.Equal(got, data) {
				t.Fatalf("%s: %d bytes do not come back", m, n)
			}
			if diff := cmp.Diff(wrote, read); diff != "" {
				t.Errorf("%s of %d bytes: the reader sees other parts (-wrote +read):\n%s", m, n, diff)
			}
			if m.framed() != (len(wrote) > 0) {
				t.Errorf("%s: %d parts", m, len(wrote))
			}
			if m.framed() {
				checkFrames(t, m, out.Bytes(), data, wrote)
			}
		}
	}
}

// Files of frames of any size, with all that may stand between them, have parts of
// one MiB at least.
func TestFramesOfOthers(t *testing.T) {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	skippable := []byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc")
	frame := func(n int) []byte { return z.EncodeAll(sample(n, 3), nil) }
	const MiB = 1 << 20
	for name, c := range map[string]struct {
		file []byte
		want []int64 // bytes of content
	}{
		"one":             {frame(5 * MiB), []int64{5 * MiB}},
		"two":             {slices.Concat(frame(MiB), frame(1)), []int64{MiB, 1}},
		"small ones":      {slices.Concat(frame(MiB/2), frame(MiB/2), frame(MiB/2), frame(MiB)), []int64{MiB, MiB + MiB/2}},
		"empty ones":      {slices.Concat(frame(0), frame(MiB), frame(0), frame(0), frame(1)), []int64{MiB, 1}},
		"skippable first": {slices.Concat(skippable, frame(MiB), frame(1)), []int64{MiB, 1}},
		"skippable after": {slices.Concat(frame(MiB), skippable, skippable, frame(1), skippable), []int64{MiB, 1}},
	} {
		list, data := framesOf(t, Zstd, c.file)
		checkFrames(t, Zstd, c.file, data, list)
		var got []int64
		for _, f := range list {
			got = append(got, f.Content)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// However many frames a file has, the parts are bounded.
func TestFramesAreBounded(t *testing.T) {
	for _, content := range []int64{0, 1, leastContent - 1, leastContent, leastContent + 1, 16 << 20} {
		var f frames
		sum := Frame{}
		for range 5*MaxFrames + 3 {
			f.add(Frame{Compressed: 10, Content: content})
			sum.Compressed += 10
			sum.Content += content
			if len(f.list) > MaxFrames {
				t.Fatalf("%d parts", len(f.list))
			}
		}
		got := Frame{}
		for i, p := range f.list {
			if p.Content < f.least && i < len(f.list)-1 {
				t.Errorf("part %d has %d bytes, the least is %d", i, p.Content, f.least)
			}
			got.Compressed += p.Compressed
			got.Content += p.Content
		}
		if got != sum {
			t.Errorf("parts of frames of %d: got %v in total, want %v", content, got, sum)
		}
	}
}

// Damage leaves no parts to speak of.
func TestFramesOfDamage(t *testing.T) {
	p := testPool(t, 1)
	file := compressed(t, p, Zstd, 1, sample(3<<20, 1))
	for _, damaged := range [][]byte{file[:len(file)-1], append(bytes.Clone(file), 'x'), nil} {
		z, err := NewReader(bytes.NewReader(damaged), Zstd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, z); err == nil || z.Frames() != nil {
			t.Errorf("%d bytes: error %v, %d parts", len(damaged), err, len(z.Frames()))
		}
		z.Close()
	}
}
