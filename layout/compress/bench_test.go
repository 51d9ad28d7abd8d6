//go:build linux || darwin || freebsd

package compress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// corpus is what the benchmarks compress: the files named by the glob in NIXSTATIC_BENCH, cut
// to 64 MB, or else the text and programs of the Go that runs them.
func corpus(b *testing.B) []byte {
	const limit = 64 << 20
	pattern := os.Getenv("NIXSTATIC_BENCH")
	if pattern == "" {
		pattern = filepath.Join(os.Getenv("GOROOT"), "pkg/tool/*/*")
	}
	names, err := filepath.Glob(pattern)
	if err != nil {
		b.Fatal(err)
	}
	var data []byte
	for _, name := range names {
		if len(data) < limit {
			more, err := os.ReadFile(name)
			if err != nil {
				b.Fatal(err)
			}
			data = append(data, more...)
		}
	}
	if len(data) == 0 {
		b.Fatalf("no files match %q: set NIXSTATIC_BENCH to a glob", pattern)
	}
	return data[:min(len(data), limit)]
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

func benchmarkWrite(b *testing.B, m Method, level, workers, streams int, data []byte) {
	p := NewPool(workers)
	defer p.Close()
	b.SetBytes(int64(len(data) * streams))
	b.ReportAllocs()
	outs := make([]counter, streams)
	before := cpuTime(b)
	for b.Loop() {
		var wg sync.WaitGroup
		for i := range outs {
			wg.Go(func() {
				outs[i].n = 0
				w, err := p.NewWriter(b.Context(), &outs[i], m, level)
				if err != nil {
					b.Error(err)
					return
				}
				for from := 0; from < len(data); from += 256 << 10 {
					if _, err := w.Write(data[from:min(from+256<<10, len(data))]); err != nil {
						b.Error(err)
					}
				}
				if err := w.Close(); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	// How fast one core is, which holds still when others use the machine too.
	used := cpuTime(b) - before
	b.ReportMetric(float64(b.N*streams*len(data))/1e6/used.Seconds(), "MB/cpu-s")
	b.ReportMetric(float64(len(data))/float64(outs[0].n), "ratio")
}

// cpuTime is what this process and its children, such as xz, have used.
func cpuTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func BenchmarkWriter(b *testing.B) {
	data := corpus(b)
	for _, c := range []struct {
		m       Method
		level   int
		workers int
		streams int
		size    int
	}{
		{Zstd, 0, 1, 1, 0}, {Zstd, 0, 2, 1, 0}, {Zstd, 0, 2, 4, 0}, {Zstd, 1, 2, 1, 0}, {Zstd, 7, 2, 1, 0}, {Zstd, 11, 2, 1, 0},
		{Zstd, 0, 2, 1, 3 << 10}, {Zstd, 0, 2, 4, 100 << 10}, {Zstd, 0, 2, 4, 2 << 20},
		{Gzip, 0, 2, 1, 0}, {Bzip2, 0, 2, 1, 0}, {Brotli, 0, 2, 1, 16 << 20}, {Xz, 0, 2, 1, 32 << 20}, {Xz, 0, 2, 1, 3 << 10},
	} {
		part := data
		if c.size > 0 {
			part = data[:min(c.size, len(data))]
		}
		b.Run(fmt.Sprintf("%s-%d/workers=%d/streams=%d/size=%d", c.m, c.level, c.workers, c.streams, len(part)), func(b *testing.B) {
			benchmarkWrite(b, c.m, c.level, c.workers, c.streams, part)
		})
	}
}

func BenchmarkReader(b *testing.B) {
	data := corpus(b)
	data = data[:min(len(data), 32<<20)]
	p := NewPool(0)
	defer p.Close()
	for _, m := range Writable() {
		for _, size := range []int{3 << 10, len(data)} {
			file := compressed(b, p, m, 0, data[:size])
			b.Run(fmt.Sprintf("%s/size=%d", m, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					r, err := NewReader(bytes.NewReader(file), m)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, r); err != nil {
						b.Fatal(err)
					}
					r.Close()
				}
			})
		}
	}
}
