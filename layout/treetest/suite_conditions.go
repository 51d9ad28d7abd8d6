package treetest

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

func testIfAbsent(t *testing.T, tree layout.Tree) {
	for _, key := range []layout.Key{page, logKey(0), narKey([]byte("first"))} {
		put(t, tree, key, []byte("first"), layout.PutOptions{IfAbsent: true})
		err := tree.Put(t.Context(), key, layout.Bytes([]byte("second")), layout.PutOptions{IfAbsent: true})
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("Put %s if absent, when it is there: %v, want fs.ErrExist", key, err)
		}
		want(t, tree, key, []byte("first"))
	}
	if err := tree.Delete(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	put(t, tree, page, []byte("third"), layout.PutOptions{IfAbsent: true})
	want(t, tree, page, []byte("third"))
}

func testIfAbsentRace(t *testing.T, tree layout.Tree) {
	for _, key := range []layout.Key{page, logKey(7)} {
		var won, winner atomic.Int64
		together(32, func(i int) {
			err := tree.Put(t.Context(), key, layout.Bytes(fmt.Appendf(nil, "writer %d", i)), layout.PutOptions{IfAbsent: true})
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(int64(i))
			case !errors.Is(err, fs.ErrExist):
				t.Errorf("Put: %v", err)
			}
		})
		if won.Load() != 1 {
			t.Fatalf("%d of 32 writers of %s won", won.Load(), key)
		}
		want(t, tree, key, fmt.Appendf(nil, "writer %d", winner.Load()))
	}
}

func testIfMatch(t *testing.T, tree layout.Tree) {
	put(t, tree, page, []byte("one"), layout.PutOptions{})
	one, err := tree.Stat(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	put(t, tree, page, []byte("two"), layout.PutOptions{IfMatch: one.ETag})
	want(t, tree, page, []byte("two"))

	changed := func(why, etag string) {
		t.Helper()
		err := tree.Put(t.Context(), page, layout.Bytes([]byte("three")), layout.PutOptions{IfMatch: etag})
		if !errors.Is(err, layout.ErrChanged) {
			t.Errorf("Put if unchanged, %s: %v, want layout.ErrChanged", why, err)
		}
	}
	changed("with a stale ETag", one.ETag)
	changed("with an ETag that never was", "0123456789abcdef0123456789abcdef")
	want(t, tree, page, []byte("two"))
	two, err := tree.Stat(t.Context(), page)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Delete(t.Context(), page); err != nil {
		t.Fatal(err)
	}
	changed("when it is gone", two.ETag)
	wantAbsent(t, tree, page)
}

// testIfMatchRace has many add to one number. The numbers are as long as each
// other, so that size alone does not tell the versions apart.
func testIfMatchRace(t *testing.T, tree layout.Tree) {
	const writers, each = 16, 5
	number := func(n int) []byte { return fmt.Appendf(nil, "%06d", n) }
	put(t, tree, page, number(0), layout.PutOptions{})
	together(writers, func(int) {
		for done := 0; done < each; {
			info, err := tree.Stat(t.Context(), page)
			if err != nil {
				t.Error(err)
				return
			}
			text, err := layout.ReadAll(t.Context(), tree, page)
			if err != nil {
				t.Error(err)
				return
			}
			n, err := strconv.Atoi(string(text))
			if err != nil {
				t.Error(err)
				return
			}
			err = tree.Put(t.Context(), page, layout.Bytes(number(n+1)), layout.PutOptions{IfMatch: info.ETag})
			switch {
			case err == nil:
				done++
			case !errors.Is(err, layout.ErrChanged):
				t.Error(err)
				return
			}
		}
	})
	if !t.Failed() {
		want(t, tree, page, number(writers*each))
	}
}

// testIfMatchAgainstDelete has one delete what others keep replacing if it is
// unchanged: once it is gone, it is gone. Otherwise a record that gains a
// signature while it is withdrawn would come back, and lead to a NAR that goes
// next (I2).
func testIfMatchAgainstDelete(t *testing.T, tree layout.Tree) {
	for range 20 {
		put(t, tree, page, []byte("old"), layout.PutOptions{})
		var updates atomic.Int64
		busy := make(chan struct{})
		together(4, func(i int) {
			if i == 0 {
				<-busy
				if err := tree.Delete(t.Context(), page); err != nil {
					t.Errorf("Delete: %v", err)
				}
				return
			}
			for updates.Load() < 60 {
				info, err := tree.Stat(t.Context(), page)
				if errors.Is(err, fs.ErrNotExist) {
					break
				}
				if err == nil {
					err = tree.Put(t.Context(), page, layout.Bytes([]byte("new")), layout.PutOptions{IfMatch: info.ETag})
				}
				if err != nil && !errors.Is(err, layout.ErrChanged) {
					t.Errorf("replace: %v", err)
				}
				if updates.Add(1) == 5 {
					close(busy)
				}
			}
		})
		wantAbsent(t, tree, page)
		if t.Failed() {
			return
		}
	}
}

// together runs f n times at once.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	all.Wait()
}
