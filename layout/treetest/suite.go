package treetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// Test checks that the trees which newTree makes keep the contract of
// layout.Tree. Each subtest asks for an empty tree of its own; newTree
// registers what is to be cleaned up.
func Test(t *testing.T, newTree func(t *testing.T) layout.Tree) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, layout.Tree)
	}{
		{"Empty", testEmpty},
		{"PutGetStatDelete", testRoundTrip},
		{"Replace", testReplace},
		{"EmptyObject", testEmptyObject},
		{"BigObject", testBigObject},
		{"ForeignKey", testForeignKey},
		{"EveryKind", testEveryKind},
		{"BrokenBody", testBrokenBody},
		{"ReplaceWhileRead", testReplaceWhileRead},
		{"WholeOrNothing", testWholeOrNothing},
		{"CancelledContext", testCancelled},
		{"IfAbsent", testIfAbsent},
		{"IfAbsentRace", testIfAbsentRace},
		{"IfMatch", testIfMatch},
		{"IfMatchRace", testIfMatchRace},
		{"IfMatchAgainstDelete", testIfMatchAgainstDelete},
		{"ListOrder", testListOrder},
		{"ListTop", testListTop},
		{"ListNames", testListNames},
		{"NarInfoKeys", testNarInfoKeys},
		{"OpenRange", testOpenRange},
		{"Copy", testCopy},
		{"DeleteBatch", testDeleteBatch},
		{"Flush", testFlush},
		{"ListPrefix", testListPrefix},
		{"ListStop", testListStop},
		{"ListPages", testListPages},
		{"PutBatch", testPutBatch},
		{"PutBatchOrder", testPutBatchOrder},
		{"PutBatchFailure", testPutBatchFailure},
		{"UpdateNarInfo", testUpdateNarInfo},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newTree(t)) })
	}
}

const page layout.Key = "index.html" // a key that may change, without rules of its own

func testEmpty(t *testing.T, tree layout.Tree) {
	if got := list(t, tree, ""); len(got) != 0 {
		t.Errorf("List of an empty tree = %v", got)
	}
	wantAbsent(t, tree, page)
	wantAbsent(t, tree, "nar/none.nar")
	if err := tree.Delete(t.Context(), page); err != nil {
		t.Errorf("Delete of an absent key: %v", err)
	}
	if err := tree.Delete(t.Context(), "log/none/such"); err != nil {
		t.Errorf("Delete of an absent key in an absent folder: %v", err)
	}
}

func testRoundTrip(t *testing.T, tree layout.Tree) {
	data := pattern(100_000)
	key := narKey(data)
	put(t, tree, key, data, layout.PutOptions{})
	want(t, tree, key, data)

	info, err := tree.Stat(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(info.ModTime); age < -time.Hour || age > time.Hour {
		t.Errorf("ModTime is %s ago", age)
	}
	// I4: the same bytes again succeed.
	put(t, tree, key, data, layout.PutOptions{})
	want(t, tree, key, data)
	// A key in the place of a folder, and a folder's name, are absent (I5).
	wantAbsent(t, tree, key+"/x")
	wantAbsent(t, tree, "nar")

	for range 2 {
		if err := tree.Delete(t.Context(), key); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantAbsent(t, tree, key)
	}
	// And it comes back after the folder may have gone with it.
	put(t, tree, key, data, layout.PutOptions{IfAbsent: true})
	want(t, tree, key, data)
}

func testReplace(t *testing.T, tree layout.Tree) {
	tags := map[string]bool{}
	for i, text := range []string{"one", "two", "a longer one", "", "ten"} {
		put(t, tree, page, []byte(text), layout.PutOptions{})
		want(t, tree, page, []byte(text))
		info, err := tree.Stat(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		if tags[info.ETag] {
			t.Errorf("version %d has the ETag %q of an earlier one", i, info.ETag)
		}
		tags[info.ETag] = true
	}
}

func testEmptyObject(t *testing.T, tree layout.Tree) {
	key := logKey(0) // Nix uploads logs of zero bytes
	put(t, tree, key, nil, layout.PutOptions{})
	want(t, tree, key, nil)
	if got := list(t, tree, "log/"); !cmp.Equal(got, []layout.Key{key}) {
		t.Errorf("List = %v", got)
	}
}

// testBigObject uses a size that object stores upload in parts.
func testBigObject(t *testing.T, tree layout.Tree) {
	body := endless{size: 40<<20 + 13}
	sum := sha256.New()
	io.Copy(sum, io.NewSectionReader(body, 0, body.size))
	key := layout.NARKey(layout.Hash(sum.Sum(nil)), ".zst")
	if err := tree.Put(t.Context(), key, body, layout.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	r, info, err := tree.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := sha256.New()
	n, err := io.Copy(got, r)
	if err != nil || n != body.size || !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
		t.Errorf("read back %d of %d bytes, equal %t: %v", n, body.size, bytes.Equal(got.Sum(nil), sum.Sum(nil)), err)
	}
	if info.Size != body.size {
		t.Errorf("Info.Size = %d, want %d", info.Size, body.size)
	}
}

func testForeignKey(t *testing.T, tree layout.Tree) {
	for _, key := range []layout.Key{"README", "nar/x", "nar/sub/folder.nar", "wp-login.php", "nix-cache-info/x"} {
		if err := tree.Put(t.Context(), key, layout.Bytes([]byte("x")), layout.PutOptions{}); err == nil {
			t.Errorf("Put %s succeeded", key)
		}
		wantAbsent(t, tree, key)
	}
	if got := list(t, tree, ""); len(got) != 0 {
		t.Errorf("List = %v", got)
	}
}

func testEveryKind(t *testing.T, tree layout.Tree) {
	nar := pattern(300)
	for _, key := range []layout.Key{
		narKey(nar),
		logKey(1),
		"log/00000000000000000000000000000000-we?ird=x+1.0.drv",
		"debuginfo/0123456789abcdef0123456789abcdef01234567",
		"debuginfo/0123456789abcdef0123456789abcdef01234567.debug",
		"00000000000000000000000000000000.ls",
		"index.html",
		"realisations/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef!out.doi",
		"build-trace-v2/00000000000000000000000000000000-x+1.drv/out.doi",
		".nixstatic/record",
	} {
		put(t, tree, key, nar, layout.PutOptions{IfAbsent: true})
		want(t, tree, key, nar)
		if err := tree.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete %s: %v", key, err)
		}
		wantAbsent(t, tree, key)
	}
}

func testBrokenBody(t *testing.T, tree layout.Tree) {
	fault := errors.New("the disk is on fire")
	for _, c := range []struct {
		name string
		body layout.Body
		is   error
	}{
		{"error at once", failing{100, 0, fault}, fault},
		{"error in the middle", failing{1 << 20, 600_000, fault}, fault},
		{"shorter than its size", failing{100, 99, io.EOF}, nil},
		{"much shorter", failing{20 << 20, 1, io.EOF}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := tree.Put(t.Context(), page, c.body, layout.PutOptions{})
			if err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Put = %v, want an error (%v)", err, c.is)
			}
			wantAbsent(t, tree, page)
			if got := list(t, tree, ""); len(got) != 0 {
				t.Errorf("List = %v", got)
			}
		})
	}
	// The object that was there stays.
	put(t, tree, page, []byte("old"), layout.PutOptions{})
	if err := tree.Put(t.Context(), page, failing{100, 50, io.EOF}, layout.PutOptions{}); err == nil {
		t.Error("Put of a short body succeeded")
	}
	want(t, tree, page, []byte("old"))
}

func testCancelled(t *testing.T, tree layout.Tree) {
	put(t, tree, page, []byte("old"), layout.PutOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(verb string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: %v", verb, err)
		}
	}
	check("Put", tree.Put(ctx, page, layout.Bytes([]byte("new")), layout.PutOptions{}))
	check("Put of a new key", tree.Put(ctx, logKey(0), layout.Bytes(nil), layout.PutOptions{IfAbsent: true}))
	_, err := tree.Stat(ctx, page)
	check("Stat", err)
	_, err = tree.Stat(ctx, logKey(0))
	check("Stat of an absent key", err)
	body, _, err := tree.Get(ctx, page)
	check("Get", err)
	if err == nil {
		body.Close()
	}
	check("Delete", tree.Delete(ctx, page))
	err = nil
	for _, e := range tree.List(ctx, "") {
		err = errors.Join(err, e)
	}
	check("List", err)
	want(t, tree, page, []byte("old"))
	wantAbsent(t, tree, logKey(0))

	// In the middle of a listing.
	put(t, tree, logKey(0), nil, layout.PutOptions{})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	err = nil
	for _, e := range tree.List(ctx, "") {
		cancel()
		err = errors.Join(err, e)
	}
	// A tree that had everything in hand by then may well end without an error.
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("List cancelled on its way: %v", err)
	}
}
