package gc_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// TestRemembered: a run that remembers what a listing said earlier, and does not look
// again, plans what one plans that remembers nothing: whatever came, went, was renewed or
// mended, or was restored with other times meanwhile.
func TestRemembered(t *testing.T) {
	decided := func(f *forest, memory string, now time.Time, undo time.Duration) gc.Plan {
		t.Helper()
		o := gc.Options{KeepYoung: 30 * 24 * time.Hour, MaxRemoval: 1, NoPins: true, Undo: undo, Memory: memory, Now: func() time.Time { return now }}
		plan, err := gc.Preview(t.Context(), f, o)
		if err != nil {
			t.Fatal(err)
		}
		return *plan
	}
	for seed := range uint64(15) {
		f := newForest(t, seed)
		memory := filepath.Join(t.TempDir(), "memory")
		begin := time.Now().Add(-90 * 24 * time.Hour)
		now := begin
		touch := func(key layout.Key, at time.Time) {
			name := filepath.Join(f.Path(), string(key))
			text, err := os.ReadFile(name)
			if errors.Is(err, fs.ErrNotExist) {
				return
			}
			if err := errors.Join(err, os.Remove(name)); err != nil { // another inode, as a Put makes
				t.Fatal(err)
			}
			f.write(key, text, at)
		}
		nar := func(p layout.StorePath) layout.Key {
			text, err := layout.ReadAll(t.Context(), f, layout.NarInfoKey(p))
			if err != nil {
				return "nar/absent"
			}
			n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
			if err != nil {
				t.Fatal(err)
			}
			return layout.Key(n.URL)
		}
		for range 8 {
			now = now.Add(time.Duration(f.r.IntN(20*24)) * time.Hour)
			for range 1 + f.r.IntN(8) {
				var refs []layout.StorePath
				if n := len(f.paths); n > 0 && f.r.IntN(2) == 0 {
					refs = f.paths[n-1:]
				}
				f.grow(now, 100+f.r.IntN(100), refs...)
			}
			for range f.r.IntN(6) {
				p := f.paths[f.r.IntN(len(f.paths))]
				switch f.r.IntN(6) {
				case 0: // renewed
					touch(layout.ListingKey(p), now)
				case 1: // signed
					touch(layout.NarInfoKey(p), now)
				case 2: // mended
					touch(nar(p), now)
				case 3: // withdrawn, and its NAR is put once more
					key := nar(p)
					os.Remove(filepath.Join(f.Path(), string(layout.NarInfoKey(p))))
					touch(key, now)
				case 4: // withdrawn
					os.Remove(filepath.Join(f.Path(), string(layout.NarInfoKey(p))))
				case 5: // restored from a copy that did not keep the times
					touch(layout.NarInfoKey(p), begin)
					touch(layout.ListingKey(p), begin)
				}
			}
			undo := time.Duration(f.r.IntN(2)*7*24) * time.Hour
			got, want := decided(f, memory, now, undo), decided(f, "", now, undo)
			shown := func(p gc.Plan) []any {
				return []any{p.Before, p.After, p.Withdraw, p.Reclaim, p.Waiting, p.Live, p.ForUndo}
			}
			if diff := cmp.Diff(shown(want), shown(got)); diff != "" {
				t.Fatalf("seed %d: (-looking at all +remembering):\n%s", seed, diff)
			}
		}
	}
}
