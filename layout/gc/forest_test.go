package gc_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A forest is a tree in a directory whose paths have nothing in them: their NARs are
// rubbish, which gc does not read. It is quick to grow.
type forest struct {
	*layout.Dir
	t     *testing.T
	r     *rand.Rand
	count uint64
	paths []layout.StorePath // in the order in which they came
	refs  map[layout.StorePath][]layout.StorePath
}

func newForest(t *testing.T, seed uint64) *forest {
	f := &forest{Dir: treetest.OpenDir(t, t.TempDir()), t: t, r: rand.New(rand.NewPCG(seed, 1)), refs: map[layout.StorePath][]layout.StorePath{}}
	if _, err := layout.Init(t.Context(), f.Dir, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"nar", "log", "debuginfo"} {
		if err := os.MkdirAll(filepath.Join(f.Path(), folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *forest) write(key layout.Key, text []byte, at time.Time) {
	f.t.Helper()
	name := filepath.Join(f.Path(), filepath.FromSlash(string(key)))
	if err := os.WriteFile(name, text, 0o644); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(name, at, at); err != nil {
		f.t.Fatal(err)
	}
}

// grow adds a path that came at a moment, and refers to others. Some have the NAR of
// another path, some a log, some a debug link.
func (f *forest) grow(at time.Time, size int, refs ...layout.StorePath) layout.StorePath {
	f.t.Helper()
	f.count++
	sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, f.count))
	hash := layout.Hash(sum)
	p, err := layout.ParseStorePath(hash.Nix32()[:32] + "-p")
	if err != nil {
		f.t.Fatal(err)
	}
	nar := hash
	if f.count > 1 && f.r.IntN(10) == 0 { // the NAR of the path before
		before := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, f.count-1))
		nar = layout.Hash(before)
	}
	n := layout.NarInfo{URL: string(layout.NARKey(nar, "")), Compression: "none", FileHash: nar, FileSize: int64(size)}
	n.Path, n.NarHash, n.NarSize, n.References = p, nar, int64(size), refs
	if f.r.IntN(4) == 0 {
		if n.Deriver, err = layout.ParseStorePath(string(p[:32]) + "-d.drv"); err != nil {
			f.t.Fatal(err)
		}
		f.write(layout.LogKey(n.Deriver), make([]byte, f.r.IntN(100)), at)
	}
	key := layout.NARKey(nar, "")
	if _, err := os.Stat(filepath.Join(f.Path(), string(key))); err != nil {
		f.write(key, make([]byte, size), at)
	}
	if f.r.IntN(8) == 0 {
		link := layout.NewDebugLink(fmt.Sprintf("%x", hash[:20]))
		f.write(link.Keys()[0], link.Marshal(key), at)
	}
	f.write(layout.ListingKey(p), []byte("{}"), at)
	f.write(layout.NarInfoKey(p), n.Marshal(layout.DefaultStoreDir), at)
	f.paths = append(f.paths, p)
	f.refs[p] = refs
	return p
}

// files returns the bytes of all files that belong to paths.
func (f *forest) files() (sum int64) {
	f.t.Helper()
	for info, err := range f.List(f.t.Context(), "") {
		if err != nil {
			f.t.Fatal(err)
		}
		switch info.Key.Kind() {
		case layout.KindNAR, layout.KindNarInfo, layout.KindListing, layout.KindLog, layout.KindDebugInfo, layout.KindRealisation:
			sum += info.Size
		}
	}
	return sum
}

// whole fails the test if a path that is there lacks one that it refers to, or its
// NAR. It returns the paths that are there.
func (f *forest) whole() map[layout.StorePath]bool {
	f.t.Helper()
	there := map[layout.StorePath]bool{}
	has := func(key layout.Key) bool {
		_, err := os.Lstat(filepath.Join(f.Path(), string(key)))
		if err != nil && !os.IsNotExist(err) {
			f.t.Fatal(err)
		}
		return err == nil
	}
	for p := range f.refs {
		if has(layout.NarInfoKey(p)) {
			there[p] = true
		}
	}
	for p := range there {
		text, err := os.ReadFile(filepath.Join(f.Path(), string(layout.NarInfoKey(p))))
		if err != nil {
			f.t.Fatal(err)
		}
		n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if err != nil {
			f.t.Fatal(err)
		}
		if !has(layout.Key(n.URL)) {
			f.t.Errorf("%s has lost its NAR", p)
		}
		for _, ref := range f.refs[p] {
			if !there[ref] {
				f.t.Errorf("%s has lost %s", p, ref)
			}
		}
	}
	return there
}
