package compress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/quick"
)

// failing takes a number of bytes and then no more.
type failing struct {
	left int
	err  error
	late atomic.Int32 // writes after the failure
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left < 0 {
		f.late.Add(1)
	}
	if len(p) <= f.left {
		f.left -= len(p)
		return len(p), nil
	}
	n := max(f.left, 0)
	f.left = -1
	return n, f.err
}

func TestErrorOfDestination(t *testing.T) {
	full := errors.New("disk full")
	for _, m := range Writable() {
		for _, frames := range []int{0, 1, 20} {
			t.Run(fmt.Sprintf("%s/%d", m, frames), func(t *testing.T) {
				before := runtime.NumGoroutine()
				p := newPool(2, testStart, testFrame)
				dst := &failing{left: 3, err: full}
				w, err := p.NewWriter(t.Context(), dst, m, 0)
				if err != nil {
					t.Fatal(err)
				}
				data, wrote := noise(testFrame), 0
				if frames == 0 {
					_, err = w.Write(data[:100])
				}
				for range frames {
					if _, err = w.Write(data); err != nil {
						break
					}
					wrote++
				}
				if err != nil && !errors.Is(err, full) {
					t.Errorf("Write = %v, want %v", err, full)
				}
				if frames == 20 && wrote > 10 && m != Brotli { // which holds back a window of 4 MiB
					t.Errorf("%d frames accepted after the destination failed on the first", wrote)
				}
				if err := w.Close(); !errors.Is(err, full) {
					t.Errorf("Close = %v, want %v", err, full)
				}
				if n := dst.late.Load(); n > 0 {
					t.Errorf("%d writes after the failure", n)
				}
				reclaimed(t, p)
				p.Close()
				settled(t, before)
			})
		}
	}
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestShortWrite(t *testing.T) {
	p := testPool(t, 1)
	for _, m := range []Method{Zstd, None} {
		w, err := p.NewWriter(t.Context(), short{}, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.Write([]byte("some bytes"))
		if err := w.Close(); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: Close = %v", m, err)
		}
	}
}

// childless fails if a process that we started is still there.
func childless(t *testing.T) {
	t.Helper()
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		t.Errorf("a process of ours still runs: %d, %v", pid, err)
	}
}

// A stream that is cancelled frees everything, whether it is closed afterwards or forgotten.
func TestCancel(t *testing.T) {
	for _, m := range Writable() {
		for _, closes := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/close=%v", m, closes), func(t *testing.T) {
				before := runtime.NumGoroutine()
				p := newPool(2, startSize, frameSize)
				ctx, cancel := context.WithCancelCause(t.Context())
				enough := errors.New("enough")
				w, err := p.NewWriter(ctx, io.Discard, m, 0)
				if err != nil {
					t.Fatal(err)
				}
				data := sample(1<<20, 8)
				timer := time.AfterFunc(50*time.Millisecond/time.Duration(quick.Step(5)), func() { cancel(enough) })
				defer timer.Stop()
				for err == nil {
					_, err = w.Write(data)
				}
				if !errors.Is(err, enough) {
					t.Errorf("Write = %v, want %v", err, enough)
				}
				if closes {
					if err := w.Close(); !errors.Is(err, enough) {
						t.Errorf("Close = %v, want %v", err, enough)
					}
				}
				reclaimed(t, p)
				childless(t)
				p.Close()
				settled(t, before)
			})
		}
	}
}

// A stream that was given up with nothing but a few bytes in it.
func TestCancelBeforeFirstFrame(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newPool(1, testStart, testFrame)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	w, err := p.NewWriter(ctx, &out, Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(sample(3*testStart, 1))
	cancel()
	reclaimed(t, p)
	if err := w.Close(); !errors.Is(err, context.Canceled) {
		t.Errorf("Close = %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("%d bytes written", out.Len())
	}
	p.Close()
	settled(t, before)
}

// Closing the pool ends the streams that are open.
func TestPoolClose(t *testing.T) {
	before := runtime.NumGoroutine()
	p := newPool(2, testStart, testFrame)
	w, err := p.NewWriter(t.Context(), io.Discard, Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(sample(3*testFrame, 1)); err != nil {
		t.Fatal(err)
	}
	p.Close()
	if _, err := w.Write([]byte("more")); !errors.Is(err, errPoolClosed) {
		t.Errorf("Write = %v", err)
	}
	if err := w.Close(); !errors.Is(err, errPoolClosed) {
		t.Errorf("Close = %v", err)
	}
	settled(t, before)
}

// stalled lets its first write through only when told to.
type stalled struct {
	bytes.Buffer
	entered, leave chan struct{}
	did            bool
}

func (s *stalled) Write(p []byte) (int, error) {
	if !s.did {
		s.did = true
		close(s.entered)
		<-s.leave
	}
	return s.Buffer.Write(p)
}

// The producer goes on while the destination takes a frame, and another stream while this one's
// destination takes nothing.
func TestStalledDestination(t *testing.T) {
	p := testPool(t, 2)
	dst := &stalled{entered: make(chan struct{}), leave: make(chan struct{})}
	w, err := p.NewWriter(t.Context(), dst, Zstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := sample(4*testFrame, 1)
	if _, err := w.Write(data[:testFrame+1]); err != nil {
		t.Fatal(err)
	}
	<-dst.entered
	if _, err := w.Write(data[testFrame+1:]); err != nil {
		t.Fatal(err)
	}
	other := sample(20*testFrame, 2)
	if got, err := decompressed(Zstd, compressed(t, p, Zstd, 0, other)); err != nil || !bytes.Equal(got, other) {
		t.Errorf("other stream: %v", err)
	}
	close(dst.leave)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := decompressed(Zstd, dst.Bytes()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("stalled stream: %v", err)
	}
}
