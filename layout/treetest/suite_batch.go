package treetest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func testPutBatch(t *testing.T, tree layout.Tree) {
	put(t, tree, logKey(2), []byte("theirs"), layout.PutOptions{})
	put(t, tree, logKey(3), []byte("theirs"), layout.PutOptions{})
	info, err := tree.Stat(t.Context(), logKey(3))
	if err != nil {
		t.Fatal(err)
	}
	ours := layout.Bytes([]byte("ours"))
	taken, err := layout.PutBatch(t.Context(), tree,
		[]layout.Object{{Key: logKey(1), Body: ours}, {Key: logKey(2), Body: ours, Opts: layout.PutOptions{IfAbsent: true}}},
		nil,
		[]layout.Object{{Key: logKey(3), Body: ours, Opts: layout.PutOptions{IfMatch: info.ETag}}, {Key: logKey(4), Body: ours}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]layout.Key{logKey(2)}, taken); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	for i, text := range map[int]string{1: "ours", 2: "theirs", 3: "ours", 4: "ours"} {
		want(t, tree, logKey(i), []byte(text))
	}
	if taken, err := layout.PutBatch(t.Context(), tree); err != nil || len(taken) != 0 {
		t.Errorf("PutBatch of nothing: %v, %v", taken, err)
	}
}

// testPutBatchOrder looks at the tree all the while: when a key of a group is
// there, all of the groups before it are.
func testPutBatchOrder(t *testing.T, tree layout.Tree) {
	const groups, each = 6, 8
	var batch [][]layout.Object
	for g := range groups {
		var group []layout.Object
		for i := range each {
			// Later groups have smaller bodies and smaller keys: neither size nor
			// name happens to give the right order.
			group = append(group, layout.Object{Key: logKey((groups-g)*1000 + i), Body: layout.Bytes(pattern(int64(200_000 >> (3 * g))))})
		}
		batch = append(batch, group)
	}
	done := make(chan struct{})
	var watchers sync.WaitGroup
	for g := 1; g < groups; g++ {
		watchers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				seen := slices.ContainsFunc(batch[g], func(o layout.Object) bool {
					_, err := tree.Stat(t.Context(), o.Key)
					return err == nil
				})
				if !seen {
					continue
				}
				for _, o := range slices.Concat(batch[:g]...) {
					if _, err := tree.Stat(t.Context(), o.Key); err != nil {
						t.Errorf("group %d is there, before it: %v", g, err)
					}
				}
				return
			}
		})
	}
	_, err := layout.PutBatch(t.Context(), tree, batch...)
	close(done)
	watchers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, tree, ""); len(got) != groups*each {
		t.Errorf("%d of %d objects are there", len(got), groups*each)
	}
}

func testPutBatchFailure(t *testing.T, tree layout.Tree) {
	good, bad := layout.Bytes([]byte("x")), failing{100, 10, errors.New("unreadable")}
	for _, c := range []struct {
		name   string
		groups [][]layout.Object
		absent []layout.Key
	}{
		{"a broken body", [][]layout.Object{
			{{Key: logKey(1), Body: good}},
			{{Key: logKey(2), Body: bad}},
			{{Key: logKey(3), Body: good}}}, []layout.Key{logKey(2), logKey(3)}},
		{"a foreign key", [][]layout.Object{
			{{Key: "README", Body: good}},
			{{Key: logKey(4), Body: good}}}, []layout.Key{"README", logKey(4)}},
		{"a changed object", [][]layout.Object{
			{{Key: page, Body: good, Opts: layout.PutOptions{IfMatch: "never"}}},
			{{Key: logKey(5), Body: good}}}, []layout.Key{page, logKey(5)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := layout.PutBatch(t.Context(), tree, c.groups...); err == nil {
				t.Error("PutBatch succeeded")
			} else if errors.Is(err, fs.ErrNotExist) {
				t.Errorf("PutBatch: %v, which is not about absence", err)
			}
			for _, key := range c.absent {
				wantAbsent(t, tree, key)
			}
		})
	}
}

// testUpdateNarInfo has many sign one record at once.
func testUpdateNarInfo(t *testing.T, tree layout.Tree) {
	sample := Closure(t).Paths[0]
	data := pattern(500)
	record := layout.NarInfo{PathInfo: sample.Info, URL: string(narKey(data)), Compression: "none",
		FileHash: mustHash(narKey(data)), FileSize: int64(len(data))}
	record.Sigs = nil
	put(t, tree, narKey(data), data, layout.PutOptions{})
	put(t, tree, layout.ListingKey(record.Path), []byte("{}"), layout.PutOptions{})

	const signers = 16
	var all []string
	for i := range signers {
		all = append(all, fmt.Sprintf("key-%02d:%s", i, testSignature(i)))
	}
	together(signers, func(i int) {
		err := layout.UpdateNarInfo(t.Context(), tree, record.Path, layout.DefaultStoreDir,
			func(have *layout.NarInfo) (*layout.NarInfo, error) {
				if have == nil {
					have = &record
				}
				next := *have
				next.AddSigs(all[i])
				return &next, nil
			})
		if err != nil {
			t.Errorf("UpdateNarInfo: %v", err)
		}
	})
	text, err := layout.ReadAll(t.Context(), tree, layout.NarInfoKey(record.Path))
	if err != nil {
		t.Fatal(err)
	}
	got, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, got.Sigs); diff != "" {
		t.Errorf("signatures (-want +got):\n%s", diff)
	}
	// An update that wants no change makes none.
	before, _ := tree.Stat(t.Context(), layout.NarInfoKey(record.Path))
	err = layout.UpdateNarInfo(t.Context(), tree, record.Path, layout.DefaultStoreDir,
		func(have *layout.NarInfo) (*layout.NarInfo, error) { return nil, nil })
	after, _ := tree.Stat(t.Context(), layout.NarInfoKey(record.Path))
	if err != nil || before.ETag != after.ETag {
		t.Errorf("an update without a change: %v, ETag %s then %s", err, before.ETag, after.ETag)
	}
}
