package compress

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/nixstatic/nixstatic/tests/quick"
)

// readable lists the methods that have a decoder.
var readable = []Method{Zstd, Xz, Gzip, Bzip2, Brotli, Lz4}

// files gives one file of three frames (one for br and lz4) by each method, and its content.
func files(t testing.TB) (map[Method][]byte, []byte) {
	filesOnce.Do(func() {
		p := newPool(2, testStart, testFrame)
		defer p.Close()
		data := sample(5*testFrame/2, 11)
		list := map[Method][]byte{}
		for _, m := range readable {
			if m == Lz4 {
				var out bytes.Buffer
				w := lz4.NewWriter(&out)
				w.Write(data)
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				list[m] = out.Bytes()
				continue
			}
			list[m] = compressed(t, p, m, 0, data)
		}
		theFiles, theData = list, data
	})
	return maps.Clone(theFiles), theData
}

var (
	filesOnce sync.Once
	theFiles  map[Method][]byte
	theData   []byte
)

// refused fails unless the file is corrupt, and says so.
func refused(t *testing.T, m Method, file []byte, what string, arg ...any) {
	t.Helper()
	if got, err := decompressed(m, file); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%s: "+what+": read %d bytes, %v; want ErrCorrupt", append(append([]any{m}, arg...), len(got), err)...)
	}
}

func TestReaderTruncated(t *testing.T) {
	list, _ := files(t)
	for m, file := range list {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			cuts := []int{0, 1, 2, 3, 4, 5, 6, 10, 18, 20, 30}
			for i := 0; i < 12; i += quick.Step(3) {
				cuts = append(cuts, len(file)-1-i, len(file)*(i+1)/13)
			}
			for _, cut := range cuts {
				if cut == ends(m, file) {
					continue
				}
				refused(t, m, file[:cut], "cut to %d of %d bytes", cut, len(file))
			}
		})
	}
}

// ends is where the first frame of a file ends, if that can be had cheaply: a cut right there is
// a whole file.
func ends(m Method, file []byte) int {
	magic := map[Method]string{Zstd: "\x28\xb5\x2f\xfd", Xz: "\xfd7zXZ\x00"}[m]
	if magic == "" {
		return -1
	}
	return 1 + bytes.Index(file[1:], []byte(magic))
}

func TestReaderEmpty(t *testing.T) {
	for _, m := range readable {
		if _, err := decompressed(m, nil); !errors.Is(err, io.ErrUnexpectedEOF) && m != Xz {
			t.Errorf("%s: %v", m, err)
		}
		refused(t, m, nil, "nothing")
	}
}

func TestReaderTrailing(t *testing.T) {
	list, _ := files(t)
	for m, file := range list {
		for i, tail := range []string{"x", "\x00", "\n", "ab", "abc", "\x00\x00\x00", "abcd", "garbage that is longer"} {
			if i%quick.Step(3) > 0 {
				continue
			}
			refused(t, m, slices.Concat(file, []byte(tail)), "%q at the end", tail)
		}
		refused(t, m, slices.Concat(file, file[:len(file)/2]), "half of a frame at the end")
		// Damage beyond what one read of the source brings in is found too.
		refused(t, m, slices.Concat(file, make([]byte, 3*inputSize+1)), "many zeros at the end")
	}
}

func TestReaderFlipped(t *testing.T) {
	list, data := files(t)
	for m, file := range list {
		switch m {
		case Brotli: // has no checksum
			continue
		case Zstd: // may have one, and ours have not
			z, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
			if err != nil {
				t.Fatal(err)
			}
			file = z.EncodeAll(data, nil)
		}
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			for i := 0; i < 40; i += quick.Step(5) {
				bad := bytes.Clone(file)
				at := len(file)*i/40 + i%3
				if m == Gzip && at < 10 { // time and system in the header mean nothing
					continue
				}
				bad[at] ^= 1 << (i % 8)
				refused(t, m, bad, "bit %d of byte %d flipped", i%8, at)
			}
		})
	}
}

func TestReaderOtherFormat(t *testing.T) {
	list, _ := files(t)
	for _, m := range readable {
		for _, other := range readable {
			if m != other {
				refused(t, m, list[other], "a file of %s", other)
			}
		}
		refused(t, m, []byte("<html><title>404 Not Found</title></html>"), "a web page")
	}
}

func TestReaderFramings(t *testing.T) {
	list, data := files(t)
	skip := func(n int) []byte {
		return append([]byte{0x52, 0x2a, 0x4d, 0x18, byte(n), 0, 0, 0}, make([]byte, n)...)
	}
	empty := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0}
	twice := slices.Concat(data, data)
	for _, c := range []struct {
		m    Method
		name string
		file []byte
		want []byte
	}{
		{Zstd, "two", slices.Concat(list[Zstd], list[Zstd]), twice},
		{Zstd, "skippable everywhere", slices.Concat(skip(3), list[Zstd], skip(0), list[Zstd], skip(200)), twice},
		{Zstd, "empty frame in the middle", slices.Concat(list[Zstd], empty, list[Zstd]), twice},
		{Xz, "two", slices.Concat(list[Xz], list[Xz]), twice},
		{Xz, "padding", slices.Concat(list[Xz], make([]byte, 4), list[Xz], make([]byte, 8)), twice},
		{Gzip, "two", slices.Concat(list[Gzip], list[Gzip]), twice},
		{Bzip2, "two", slices.Concat(list[Bzip2], list[Bzip2]), twice},
		{Lz4, "two", slices.Concat(list[Lz4], list[Lz4]), twice},
	} {
		if got, err := decompressed(c.m, c.file); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s, %s: %d bytes of %d, %v", c.m, c.name, len(got), len(c.want), err)
		}
	}
	refused(t, Zstd, slices.Concat(list[Zstd], skip(200)[:100]), "skippable frame cut short")
	refused(t, Xz, slices.Concat(list[Xz], make([]byte, 6)), "padding of 6 bytes")
	refused(t, Brotli, slices.Concat(list[Brotli], list[Brotli]), "two streams")
}

func TestReaderWindow(t *testing.T) {
	frame := func(descriptor ...byte) []byte {
		// A raw block of one byte, without a checksum.
		return slices.Concat([]byte{0x28, 0xb5, 0x2f, 0xfd}, descriptor, []byte{9, 0, 0, 'x'})
	}
	for exp, good := range map[byte]bool{16: true, 17: true, 18: false, 21: false} {
		file := frame(0, exp<<3)
		if !good {
			refused(t, Zstd, file, "window 2^%d", 10+exp)
		} else if got, err := decompressed(Zstd, file); err != nil || string(got) != "x" {
			t.Errorf("window 2^%d: %q, %v", 10+exp, got, err)
		}
	}
	refused(t, Zstd, frame(0, 17<<3|1), "window of 9/8 of 2^27")
	refused(t, Zstd, frame(0xa0, 1, 0, 0, 8), "single segment of 128 MiB and a byte")
	refused(t, Zstd, frame(0xe0, 0, 0, 0, 0, 0, 1, 0, 0), "single segment of a TiB")

	// A frame far longer than its window is a stream like any other.
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 1<<20)
	for range 300 {
		z.Write(block)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(&out, Zstd)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); err != nil || n != 300<<20 {
		t.Errorf("300 MiB in one frame: %d bytes, %v", n, err)
	}
}

// A bomb costs what its reader takes from it: reading some of it allocates no more than the
// window, whatever the rest would come to.
func TestReaderBomb(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	zeros := make([]byte, 64<<20)
	for i, m := range []Method{Zstd, Xz, Gzip, Bzip2, Brotli} {
		if i%quick.Step(5) > 0 {
			continue
		}
		file := compressed(t, p, m, 1, zeros)
		r, err := NewReader(bytes.NewReader(file), m)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := io.CopyN(io.Discard, r, 60<<20)
		runtime.ReadMemStats(&after)
		if err != nil || n != 60<<20 {
			t.Errorf("%s: %d bytes, %v", m, n, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 50<<20 {
			t.Errorf("%s: %d MiB allocated for a file of %d bytes", m, grown>>20, len(file))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestReaderSourceFails(t *testing.T) {
	list, _ := files(t)
	for m, file := range list {
		for _, at := range []int{0, 2, len(file) / 2, len(file)} {
			src := io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(errors.New("connection reset")))
			r, err := NewReader(src, m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, r)
			if err == nil || errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: source fails after %d of %d bytes: %v; that is no corruption", m, at, len(file), err)
			}
			r.Close()
		}
	}
}

// Readers of the source's liking: byte by byte, the end with the last bytes, into tiny buffers.
func TestReaderSlow(t *testing.T) {
	list, data := files(t)
	for m, file := range list {
		r, err := NewReader(iotest.HalfReader(iotest.DataErrReader(bytes.NewReader(file))), m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.HalfReader(r))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes, %v", m, len(got), err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("%s: Read after the end = %d, %v", m, n, err)
		}
		r.Close()
	}
}

// Decoders are used again, and what went wrong before does not show.
func TestReaderAgain(t *testing.T) {
	list, data := files(t)
	for m, file := range list {
		for i := range 9 {
			switch i % 3 {
			case 0:
				if got, err := decompressed(m, file); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, turn %d: %d bytes, %v", m, i, len(got), err)
				}
			case 1:
				refused(t, m, file[:len(file)/2], "turn %d", i)
			case 2:
				r, err := NewReader(bytes.NewReader(file), m)
				if err != nil {
					t.Fatal(err)
				}
				io.ReadFull(r, make([]byte, 100))
				for range 2 {
					if err := r.Close(); err != nil {
						t.Error(err)
					}
				}
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
					t.Errorf("%s: Read after Close = %v", m, err)
				}
			}
		}
	}
}

func TestNewReaderRefuses(t *testing.T) {
	for _, m := range []Method{"", "lzma", "brotli"} {
		if r, err := NewReader(bytes.NewReader(nil), m); err == nil || r != nil {
			t.Errorf("%q: %v, %v", m, r, err)
		}
	}
}

// No input makes a reader panic or turn a little into memory. A file that it accepts it accepts
// again.
func FuzzReader(f *testing.F) {
	list, _ := files(f)
	p := testPool(f, 1)
	for i, m := range readable {
		f.Add(byte(i), list[m][:min(len(list[m]), 2000)])
		if m.Writable() {
			small := compressed(f, p, m, 0, []byte("nix-archive-1, and some more to have a match: nix-archive-1"))
			f.Add(byte(i), small)
			f.Add(byte(i), append(small, small...))
		}
	}
	f.Add(byte(0), []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 9, 0, 0, 'x'})
	f.Fuzz(func(t *testing.T, i byte, file []byte) {
		m := readable[int(i)%len(readable)]
		read := func() (int64, error) {
			r, err := NewReader(bytes.NewReader(file), m)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			n, err := io.Copy(io.Discard, io.LimitReader(r, 128<<10))
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s: %v", m, err)
			}
			return n, err
		}
		allocated := func() uint64 {
			sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
			metrics.Read(sample) // which stops nothing, unlike runtime.ReadMemStats
			return sample[0].Value.Uint64()
		}
		before := allocated()
		n, err := read()
		if grown := allocated() - before; grown > 2*maxWindow+64<<20 {
			t.Errorf("%s: %d MiB for %d bytes", m, grown>>20, len(file))
		}
		if err != nil {
			return
		}
		if n2, err2 := read(); n2 != n || err2 != nil {
			t.Errorf("%s: first %d; then %d, %v", m, n, n2, err2)
		}
	})
}
