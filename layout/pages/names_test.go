package pages

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// The index tells the names that were put into it, public or not, and says when it is
// damaged.
func TestNames(t *testing.T) {
	for _, unlisted := range []bool{false, true} {
		mem := treetest.NewMem(t)
		names := func() (list []layout.StorePath, err error) {
			every := func(string, string) bool { return true }
			for part, failed := range Names(t.Context(), mem, 3, every) {
				if failed != nil {
					err = failed
					break
				}
				for i, p := range part.Paths {
					if hash := string(part.Hashes[i*hashLen : (i+1)*hashLen]); hash != p.Hash() {
						t.Errorf("the hash %s of %s", hash, p)
					}
				}
				list = append(list, part.Paths...)
			}
			return list, err
		}
		if _, err := names(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without an index: %v", err)
		}
		k := &Keeper{Tree: mem}
		if err := k.Set(context.Background(), false, func(s *Settings) error { s.Unlisted = unlisted; return nil }); err != nil {
			t.Fatal(err)
		}
		var change Change
		var want []layout.StorePath
		for i := range 3000 {
			p := layout.StorePath(string(slices.Repeat([]byte{'a' + byte(i%7)%4}, 28)) + string([]byte{'0' + byte(i/1000), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)}) + "-a-name-of-some-length")
			change.Came = append(change.Came, Record{Path: p})
			want = append(want, p)
		}
		slices.Sort(want)
		want = slices.Compact(want)
		if err := k.Apply(context.Background(), change); err != nil {
			t.Fatal(err)
		}
		got, err := names()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("unlisted %v (-want +got):\n%s", unlisted, diff)
		}
		hashes, _ := tables(unlisted)
		for key := range mem.List(t.Context(), hashes.folder) {
			if name := string(key.Key); name[len(name)-4:] == ".txt" {
				mem.Damage(key.Key, func(b []byte) []byte { return []byte("nonsense\n") })
			}
		}
		damaged := (*DamagedError)(nil)
		if _, err := names(); !errors.As(err, &damaged) {
			t.Errorf("with damaged shards: %v", err)
		}
	}
}

// A cache that only can be read is asked for nothing private.
func TestNamesOfOthers(t *testing.T) {
	for _, unlisted := range []bool{false, true} {
		mem := treetest.NewMem(t)
		k := &Keeper{Tree: mem}
		if err := k.Set(t.Context(), false, func(s *Settings) error { s.Unlisted = unlisted; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := k.Apply(t.Context(), Change{Came: []Record{record(1, "hello")}}); err != nil {
			t.Fatal(err)
		}
		found := 0
		web := &asked{Reader: mem}
		for part, err := range Names(t.Context(), web, 1, func(string, string) bool { return true }) {
			if err != nil && !(unlisted && errors.Is(err, fs.ErrNotExist)) {
				t.Fatal(err)
			}
			found += len(part.Paths)
		}
		if want := map[bool]int{false: 1}[unlisted]; found != want {
			t.Errorf("unlisted %v: found %d", unlisted, found)
		}
		for _, key := range web.keys {
			if !key.Kind().Public() {
				t.Errorf("unlisted %v: asked for %s", unlisted, key)
			}
		}
	}
}

// An asked reader notes what is read.
type asked struct {
	layout.Reader
	keys []layout.Key
}

func (a *asked) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	a.keys = append(a.keys, key)
	return a.Reader.Get(ctx, key)
}
