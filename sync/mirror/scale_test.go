package mirror_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/mirror"
)

// A madeUp tree has any number of paths and holds nothing: each path has a NAR
// of a few bytes, a listing, and references to paths before it. Only the order
// of its keys takes memory, 16 bytes for a path.
type madeUp struct {
	paths, nars []int64 // numbers of paths, in the order of their keys
	short       int     // of this many at the end the destination has nothing
}

func newMadeUp(n int) *madeUp {
	m := &madeUp{make([]int64, n), make([]int64, n), 0}
	for i := range n {
		m.paths[i], m.nars[i] = int64(i), int64(i)
	}
	slices.SortFunc(m.paths, func(a, b int64) int { return strings.Compare(hashOf(a), hashOf(b)) })
	sums := make([]string, n)
	for i := range n {
		sums[i] = string(narOf(int64(i)))
	}
	slices.SortFunc(m.nars, func(a, b int64) int { return strings.Compare(sums[a], sums[b]) })
	return m
}

const alphabet = "0123456789abcdfghijklmnpqrsvwxyz"

// hashOf spreads numbers over all hashes; numberOf finds them back.
func hashOf(i int64) string {
	x := uint64(i) * 0x9e3779b97f4a7c15
	text := make([]byte, 32)
	for j := range text {
		text[j] = alphabet[x>>59]
		x = x<<5 | x>>59
	}
	return string(text)
}

func numberOf(hash string) int64 {
	var x uint64
	for j := range 12 {
		x = x<<5 | uint64(strings.IndexByte(alphabet, hash[j]))
	}
	x = x<<4 | uint64(strings.IndexByte(alphabet, hash[12]))>>1
	return int64(x * 0xf1de83e19937733d) // the inverse, modulo 2 to the 64th
}

func content(i int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(i)) }

func narOf(i int64) layout.Key {
	return layout.NARKey(layout.Hash(sha256.Sum256(content(i))), ".zst")
}

func pathOf(i int64) layout.StorePath { return layout.StorePath(hashOf(i) + "-x") }

func (m *madeUp) text(key layout.Key) ([]byte, error) {
	switch key.Kind() {
	case layout.KindCacheInfo:
		return layout.DefaultCacheInfo().Marshal(), nil
	case layout.KindListing:
		return []byte(`{"version":1,"root":{"type":"regular","size":8,"narOffset":96}}`), nil
	case layout.KindNAR:
		at, ok := slices.BinarySearchFunc(m.nars, key, func(i int64, key layout.Key) int { return strings.Compare(string(narOf(i)), string(key)) })
		if ok {
			return content(m.nars[at]), nil
		}
	case layout.KindNarInfo:
		i := numberOf(key.PathHash())
		n := layout.NarInfo{PathInfo: layout.PathInfo{Path: pathOf(i), NarHash: layout.Hash{1}, NarSize: 8}, URL: string(narOf(i)), Compression: "zstd",
			FileHash: layout.Hash(sha256.Sum256(content(i))), FileSize: 8}
		for j := 1; j <= 8; j++ {
			if ref := i >> j; ref < i {
				n.References = append(n.References, pathOf(ref))
			}
		}
		slices.Sort(n.References)
		n.References = slices.Compact(n.References)
		return n.Marshal(layout.DefaultStoreDir), nil
	}
	return nil, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
}

func (m *madeUp) Get(_ context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	text, err := m.text(key)
	return io.NopCloser(bytes.NewReader(text)), layout.Info{Key: key, Size: int64(len(text))}, err
}

func (m *madeUp) Stat(_ context.Context, key layout.Key) (layout.Info, error) {
	text, err := m.text(key)
	return layout.Info{Key: key, Size: int64(len(text))}, err
}

func (m *madeUp) List(_ context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		if prefix != "" {
			return // it has narinfos, listings and NARs alone
		}
		one := func(key layout.Key, size int64) bool {
			return yield(layout.Info{Key: key, Size: size, ETag: "0123456789abcdef0123456789abcdef"}, nil)
		}
		there := func(i int64) bool { return i < int64(len(m.paths)-m.short) }
		nars := func() bool {
			for _, i := range m.nars {
				if there(i) && !one(narOf(i), 8) {
					return false
				}
			}
			return true
		}
		info := func() bool { return m.short > 0 || one(layout.CacheInfoKey, 46) }
		between := []struct {
			key  string
			list func() bool
		}{{"nar/", nars}, {string(layout.CacheInfoKey), info}}
		for _, i := range m.paths {
			hash := hashOf(i)
			for len(between) > 0 && hash > between[0].key {
				if !between[0].list() {
					return
				}
				between = between[1:]
			}
			if there(i) && (!one(layout.Key(hash+".ls"), 63) || !one(layout.Key(hash+".narinfo"), 400)) {
				return
			}
		}
		for _, rest := range between {
			if !rest.list() {
				return
			}
		}
	}
}

// A sink is a destination that forgets what it is given, and knows only which
// narinfos it has, to police references.
type sink struct {
	*madeUp
	published []atomic.Bool
	puts      atomic.Int64
	mu        sync.Mutex
	wrong     string
}

func (s *sink) Put(_ context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	text := make([]byte, body.Size())
	body.ReadAt(text, 0)
	if key.Kind() == layout.KindPrivate {
		return fmt.Errorf("put %s: %w", key, errors.ErrUnsupported)
	}
	s.puts.Add(1)
	if key.Kind() == layout.KindNarInfo {
		n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if err != nil {
			return err
		}
		for _, ref := range n.References {
			if i := numberOf(ref.Hash()); i >= int64(len(s.published)-s.short) && !s.published[i].Load() {
				s.mu.Lock()
				s.wrong = fmt.Sprintf("%s before %s", n.Path, ref)
				s.mu.Unlock()
			}
		}
		s.published[numberOf(key.PathHash())].Store(true)
	}
	return nil
}

func (s *sink) Delete(context.Context, layout.Key) error { return nil }

// TestMirrorScale mirrors more objects than fit anywhere. NIXSTATIC_TEST_PATHS
// says how many paths there are; each is three objects.
func TestMirrorScale(t *testing.T) {
	n := 3000
	if text := os.Getenv("NIXSTATIC_TEST_PATHS"); text != "" {
		fmt.Sscan(text, &n)
	}
	src := newMadeUp(n)
	for i := range int64(100) {
		if numberOf(hashOf(i)) != i {
			t.Fatalf("numberOf(hashOf(%d)) = %d", i, numberOf(hashOf(i)))
		}
	}
	runtime.GC()
	var base runtime.MemStats
	runtime.ReadMemStats(&base)
	for _, short := range []int{0, n / 100, n} {
		dst := &sink{madeUp: &madeUp{src.paths, src.nars, short}, published: make([]atomic.Bool, n)}
		if short == 0 {
			dst.madeUp = src
		}
		stop := make(chan struct{})
		var peak uint64
		var sampler sync.WaitGroup
		sampler.Go(func() {
			for {
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
		debug.FreeOSMemory()
		resetPeak(t)
		start := time.Now()
		if err := (&mirror.Mirror{Source: src, Dest: dst}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		took := time.Since(start)
		close(stop)
		sampler.Wait()
		want := 3 * short
		if short > 0 {
			want++
		}
		if got := int(dst.puts.Load()); got != want {
			t.Errorf("%d puts, want %d", got, want)
		}
		if dst.wrong != "" {
			t.Error(dst.wrong)
		}
		t.Logf("%d objects, %d to copy: %v, heap at most %d MB above %d MB, resident at most %d MB",
			3*n, 3*short, took.Round(time.Millisecond), (peak-min(peak, base.HeapAlloc))>>20, base.HeapAlloc>>20, residentPeak(t)>>20)
	}
}

// resetPeak has the kernel forget how much memory was resident.
func resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil && runtime.GOOS == "linux" {
		t.Logf("the peak is that of the whole process: %v", err)
	}
}

// residentPeak returns the most bytes that were resident since, 0 where the
// system does not tell.
func residentPeak(t *testing.T) (n int64) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fmt.Sscan(rest, &n)
	return n << 10 // it is in kB
}
