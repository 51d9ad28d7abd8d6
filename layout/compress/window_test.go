package compress

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

var errNoMemory = errors.New("no memory")

// within reads a file with so much memory, and returns what was asked for.
func within(m Method, file []byte, most int64) (data []byte, asked []int64, err error) {
	r, err := NewReaderWithin(bytes.NewReader(file), m, func(total int64) error {
		if asked = append(asked, total); total > most {
			return errNoMemory
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	data, err = io.ReadAll(r)
	return data, asked, errors.Join(err, r.Close())
}

func withWindow(t testing.TB, size int, data []byte) []byte {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithWindowSize(size), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := z.Flush(); err != nil { // or the frame would say its size, and that be its window
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A decoder that is held to what a file declared reads all that any reader reads.
func FuzzMemory(f *testing.F) {
	const most = 1 << 18
	data := sample(3000, 33)
	for _, file := range [][]byte{withWindow(f, 1<<17, data), slices.Concat(withWindow(f, 1<<10, data), withWindow(f, 1<<12, data))} {
		f.Add(false, file)
	}
	p := testPool(f, 1)
	small := compressed(f, p, Xz, 0, data)
	f.Add(true, small)
	f.Add(true, slices.Concat(small, make([]byte, 4), small))
	bySize := map[uint64]*zstd.Decoder{}
	held := func(isXz bool, window uint64, file []byte) ([]byte, error) {
		if isXz {
			r, err := xz.NewReader(bytes.NewReader(file), uint32(window))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(io.LimitReader(r, 1<<20))
		}
		z := bySize[window]
		if z == nil {
			var err error
			z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(window))
			if err != nil {
				f.Fatal(err)
			}
			bySize[window] = z
		}
		if err := z.Reset(struct{ io.Reader }{bytes.NewReader(file)}); err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(z, 1<<20))
	}
	f.Fuzz(func(t *testing.T, isXz bool, file []byte) {
		m := Zstd
		if isXz {
			m = Xz
		}
		granted := int64(0)
		r, err := NewReaderWithin(bytes.NewReader(file), m, func(total int64) error {
			if granted = total; total > most+overhead {
				return errNoMemory
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if errors.Is(err, errNoMemory) {
			return
		}
		window := uint64(1 << 10)
		for window < most && (err != nil || int64(window)+overhead < granted) {
			window *= 2
		}
		want, err2 := held(isXz, window, file)
		if len(file) == 0 {
			return
		}
		if (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; held to %d bytes of window %d, %v", m, len(got), err, window, len(want), err2)
		}
	})
}
