package compress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/quick"
)

// The sizes that most tests use in place of those of NewPool, so that xz takes no minutes.
var testStart, testFrame = 16 << 10, 256 << 10 / quick.Step(4)

func testPool(t testing.TB, workers int) *Pool {
	t.Helper()
	p := newPool(workers, testStart, testFrame)
	t.Cleanup(p.Close)
	return p
}

// sample is n bytes that compress about like a NAR: text, repetition, and some noise.
func sample(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var words [200]string
	for i := range words {
		words[i] = strings.Repeat(fmt.Sprintf("%x", r.Uint64()), 1+i%3)
	}
	b := make([]byte, 0, n+64)
	for len(b) < n {
		if r.IntN(50) == 0 {
			for range 8 {
				b = append(b, byte(r.Uint32()))
			}
		}
		b = append(append(b, words[r.IntN(len(words))]...), ' ')
	}
	return b[:n]
}

// noise is n bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func compressed(t testing.TB, p *Pool, m Method, level int, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := p.NewWriter(t.Context(), &out, m, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// decompressed reads a file, and fails unless the same comes out where memory is
// counted.
func decompressed(m Method, file []byte) ([]byte, error) {
	read := func(memory Memory) ([]byte, error) {
		r, err := NewReaderWithin(bytes.NewReader(file), m, memory)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		return data, errors.Join(err, r.Close())
	}
	data, err := read(nil)
	counted, err2 := read(func(int64) error { return nil })
	if err == nil && !bytes.Equal(data, counted) || errors.Is(err, ErrCorrupt) != errors.Is(err2, ErrCorrupt) || (err == nil) != (err2 == nil) {
		return nil, fmt.Errorf("%d bytes, %v; where memory is counted %d, %v", len(data), err, len(counted), err2)
	}
	return data, err
}

// settled waits until no more goroutines run than before, and fails if that never comes.
func settled(t *testing.T, before int) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
}

// reclaimed fails unless every frame buffer of p is free.
func reclaimed(t *testing.T, p *Pool) {
	t.Helper()
	var busy, made, free, waiting int
	for range 1000 {
		p.memory.mu.Lock()
		busy, made, free, waiting = p.memory.busy, p.memory.used/p.memory.frameSize, len(p.memory.frames), len(p.memory.waiting)
		p.memory.mu.Unlock()
		if busy == 0 && made == free && waiting == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("of %d frame buffers %d are free; %d busy, %d wait", made, free, busy, waiting)
}

func TestRoundTrip(t *testing.T) {
	p := testPool(t, 2)
	sizes := []int{0, 1, testStart - 1, testStart, testStart + 1, testFrame - 1, testFrame, testFrame + 1, 7 * testFrame / 2}
	chunks := []int{1 << 10, testStart, 100_003, 10 * testFrame}
	for _, m := range Writable() {
		for i, size := range sizes {
			if i%quick.Step(4) > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", m, size), func(t *testing.T) {
				t.Parallel()
				data := sample(size, uint64(size))
				want := compressed(t, p, m, 0, data)
				for _, chunk := range chunks {
					var out bytes.Buffer
					w, err := p.NewWriter(t.Context(), &out, m, 0)
					if err != nil {
						t.Fatal(err)
					}
					for b := data; len(b) > 0; {
						n, err := w.Write(b[:min(chunk, len(b))])
						if err != nil || n != min(chunk, len(b)) {
							t.Fatalf("Write = %d, %v", n, err)
						}
						b = b[n:]
					}
					if err := w.Close(); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(out.Bytes(), want) {
						t.Errorf("chunks of %d bytes gave another file", chunk)
					}
				}
				got, err := decompressed(m, want)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("read back %d bytes, %v; want %d", len(got), err, len(data))
				}
			})
		}
	}
}

func TestRoundTripRealFrames(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	for name, data := range map[string][]byte{"text": sample(5*frameSize/2+1, 1), "noise": noise(frameSize + 1)} {
		for i, level := range []int{1, 3, 6} {
			if i%quick.Step(3) > 0 {
				continue
			}
			file := compressed(t, p, Zstd, level, data)
			if got, err := decompressed(Zstd, file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, level %d: read back %d bytes, %v", name, level, len(got), err)
			}
		}
	}
	reclaimed(t, p)
}

// Data that does not compress fills the buffers to the brim, and bzip2 beyond its content.
func TestRoundTripNoise(t *testing.T) {
	p := testPool(t, 2)
	data := noise(2*testFrame + 5)
	for _, m := range Writable() {
		file := compressed(t, p, m, 0, data)
		if got, err := decompressed(m, file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: read back %d bytes, %v", m, len(got), err)
		}
		if limit := len(data) + len(data)/slackShare + 3*slackBytes; len(file) > limit {
			t.Errorf("%s: %d bytes, more than %d", m, len(file), limit)
		}
	}
}

func TestLevels(t *testing.T) {
	p := testPool(t, 2)
	data := sample(testFrame+1, 3)
	for _, m := range Writable() {
		def := compressed(t, p, m, 0, data)
		tr, _ := m.traits()
		for level := 1; level <= tr.max; level += quick.Step(8) {
			file := compressed(t, p, m, level, data)
			if got, err := decompressed(m, file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s at %d: %v", m, level, err)
			}
			if level == tr.byDefault && !bytes.Equal(file, def) {
				t.Errorf("%s: level %d is not what 0 gives", m, level)
			}
		}
	}
}

// The bytes of a file do not depend on the number of workers.
func TestSameBytesWhateverTheCores(t *testing.T) {
	data := sample(9*testFrame/2, 4)
	for i, m := range Writable() {
		if i%quick.Step(3) > 0 {
			continue
		}
		want := compressed(t, testPool(t, 1), m, 0, data)
		if got := compressed(t, testPool(t, 5), m, 0, data); !bytes.Equal(got, want) {
			t.Errorf("%s: 5 workers gave another file than 1", m)
		}
	}
}

func TestConcurrentStreams(t *testing.T) {
	p := testPool(t, 2)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			m := []Method{Zstd, Gzip, Brotli, Zstd}[i%4]
			for round := range 3 {
				data := sample((i+round)*testFrame*2/3, uint64(i))
				var out bytes.Buffer
				w, err := p.NewWriter(t.Context(), &out, m, 1+i%3)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(w, bytes.NewReader(data)); err != nil {
					t.Error(err)
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if got, err := decompressed(m, out.Bytes()); err != nil || !bytes.Equal(got, data) {
					t.Errorf("stream %d: read back %d bytes of %d, %v", i, len(got), len(data), err)
				}
			}
		})
	}
	wg.Wait()
	reclaimed(t, p)
}

// More streams than frame buffers, all fed in turns by one goroutine: each is filling for as long
// as it takes, so a stream that waited for another's buffer would wait for ever.
func TestMoreStreamsThanBuffers(t *testing.T) {
	p := testPool(t, 1)
	const streams = 30
	data := sample(3*testFrame+100, 5)
	var outs [streams]bytes.Buffer
	var ws [streams]io.WriteCloser
	for i := range ws {
		var err error
		if ws[i], err = p.NewWriter(t.Context(), &outs[i], Zstd, 1); err != nil {
			t.Fatal(err)
		}
	}
	for from := 0; from < len(data); from += 10_000 {
		for _, w := range ws {
			if _, err := w.Write(data[from:min(from+10_000, len(data))]); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range ws {
		if err := ws[i].Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := decompressed(Zstd, outs[i].Bytes()); err != nil || !bytes.Equal(got, data) {
			t.Errorf("stream %d: read back %d bytes, %v", i, len(got), err)
		}
	}
	p.memory.mu.Lock()
	used := p.memory.used
	p.memory.mu.Unlock()
	if used > 7*testFrame {
		t.Errorf("%d bytes of frame buffers for one worker, want at most 7 frames", used)
	}
	reclaimed(t, p)
}

// The same with a goroutine for each stream, so that streams do wait for buffers and are woken.
func TestMoreProducersThanBuffers(t *testing.T) {
	p := testPool(t, 2)
	data := sample(1<<20, 6)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var out bytes.Buffer
			w, err := p.NewWriter(ctx, &out, Zstd, 1)
			if err != nil {
				t.Error(err)
				return
			}
			for from := 0; from < len(data); from += 50_000 {
				if i%3 == 0 && from > i*20_000 {
					cancel()
				}
				if _, err := w.Write(data[from:min(from+50_000, len(data))]); err != nil && i%3 != 0 {
					t.Error(err)
				}
				runtime.Gosched()
			}
			err = w.Close()
			if i%3 == 0 {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Close after cancel = %v", err)
				}
				return
			}
			if got, derr := decompressed(Zstd, out.Bytes()); err != nil || derr != nil || !bytes.Equal(got, data) {
				t.Errorf("stream %d: %v, %v", i, err, derr)
			}
		})
	}
	wg.Wait()
	reclaimed(t, p)
}

func TestNewWriterRefuses(t *testing.T) {
	p := testPool(t, 1)
	cancelled, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	cancel(cause)
	closed := newPool(1, testStart, testFrame)
	closed.Close()
	closed.Close()
	for name, open := range map[string]func() (io.WriteCloser, error){
		"level":          func() (io.WriteCloser, error) { return p.NewWriter(t.Context(), io.Discard, Gzip, 10) },
		"negative level": func() (io.WriteCloser, error) { return p.NewWriter(t.Context(), io.Discard, Zstd, -1) },
		"level of none":  func() (io.WriteCloser, error) { return p.NewWriter(t.Context(), io.Discard, None, 1) },
		"read only":      func() (io.WriteCloser, error) { return p.NewWriter(t.Context(), io.Discard, Lz4, 0) },
		"unknown":        func() (io.WriteCloser, error) { return p.NewWriter(t.Context(), io.Discard, "lzma", 0) },
		"closed":         func() (io.WriteCloser, error) { return closed.NewWriter(t.Context(), io.Discard, Zstd, 0) },
	} {
		if w, err := open(); err == nil || w != nil {
			t.Errorf("%s: NewWriter = %v, %v", name, w, err)
		}
	}
	if _, err := p.NewWriter(cancelled, io.Discard, Zstd, 0); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestWriteAfterClose(t *testing.T) {
	p := testPool(t, 1)
	for _, m := range Writable() {
		w, err := p.NewWriter(t.Context(), io.Discard, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: %v", m, err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: Write after Close = %v", m, err)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: second Close = %v", m, err)
		}
	}
}
