package pages

import (
	"context"
	"errors"
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
