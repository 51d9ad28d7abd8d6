package sync

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// TestIDs: ids lead back to their keys, and have their order.
func TestIDs(t *testing.T) {
	var keys []layout.Key
	for i := range 500 {
		sum := layout.Hash(sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
		keys = append(keys, layout.NARKey(sum, ".zst"))
	}
	for _, suffix := range narSuffixes {
		key := layout.Key("nar/" + strings.Repeat("0", narChars) + suffix)
		if key.Kind() != layout.KindNAR {
			t.Errorf("%s is no NAR", key)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var ids []narID
	for _, key := range keys {
		id, ok := packNAR(key)
		if !ok || id.key() != key {
			t.Fatalf("%s comes back as %s", key, id.key())
		}
		ids = append(ids, id)
	}
	if !slices.IsSortedFunc(ids, func(a, b narID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Error("NARs are not in the order of their keys")
	}
	for i, id := range ids {
		if findNAR(ids, id) != i {
			t.Errorf("%s is not found", id.key())
		}
	}
	// The first of 52 characters holds one bit.
	if id, ok := packNAR(layout.Key("nar/" + strings.Repeat("z", narChars) + ".nar")); ok {
		t.Errorf("a key that is no hash: %s", id.key())
	}
	var hashes []string
	for range 500 {
		hash := make([]byte, pathChars)
		for i := range hash {
			hash[i] = nix32Digits[rand.N(32)]
		}
		hashes = append(hashes, string(hash))
	}
	slices.Sort(hashes)
	var paths []pathID
	for _, hash := range hashes {
		id := packPath(hash)
		if id.hash() != hash || id.narInfo() != layout.Key(hash+".narinfo") || id.listing() != layout.Key(hash+".ls") {
			t.Fatalf("%s comes back as %s", hash, id.hash())
		}
		paths = append(paths, id)
	}
	if !slices.IsSortedFunc(paths, func(a, b pathID) int { return bytes.Compare(a[:], b[:]) }) {
		t.Error("paths are not in the order of their keys")
	}
}

func TestLedger(t *testing.T) {
	name := filepath.Join(t.TempDir(), "deep", "ledger")
	m := markOf("one", "two")
	if m == markOf("on", "etwo") || markOf("", "x") != (mark{}) {
		t.Error("marks are mixed up")
	}
	write := func(keys ...layout.Key) {
		t.Helper()
		l := openLedger(name)
		for _, key := range keys {
			l.has(key, m)
			l.add(key, m)
		}
		if err := l.commit(); err != nil {
			t.Fatal(err)
		}
	}
	has := func(key layout.Key) bool {
		l := openLedger(name)
		defer l.discard()
		return l.has(key, m)
	}
	write("a", "b", "log/x")
	if !has("a") || !has("b") || !has("log/x") || has("c") || has("aa") {
		t.Error("what was remembered is not known, or more is")
	}
	before, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	write("a", "b", "log/x")
	if after, err := os.Stat(name); err != nil || !os.SameFile(before, after) {
		t.Errorf("written anew though nothing changed: %v", err)
	}
	write("b")
	if has("a") || !has("b") {
		t.Error("what went is still known")
	}
	l := openLedger(name)
	if l.has("b", markOf("other", "two")) || l.has("b", mark{}) {
		t.Error("another version counts as equal")
	}
	l.discard()
	if left, _ := filepath.Glob(name + ledgerNew + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// FuzzLedger: whatever the file holds, only what stands in it is known.
func FuzzLedger(f *testing.F) {
	good := ledgerHeader + "AAAAAAAAAAAAAAAAAAAAAQ nix-cache-info\n"
	for _, text := range []string{"", ledgerHeader, good, good + good, good[:len(good)-5], "\n" + good, ledgerHeader + " \n", ledgerHeader + "x y\n"} {
		f.Add([]byte(text))
	}
	name := filepath.Join(f.TempDir(), "ledger")
	m := mark{15: 1}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLedger(name)
		defer l.discard()
		if l.has(layout.CacheInfoKey, m) && !bytes.Contains(text, []byte("AAAAAAAAAAAAAAAAAAAAAQ nix-cache-info")) {
			t.Error("known without a word of it")
		}
		l.add("x", m)
		if err := l.commit(); err != nil {
			t.Error(err)
		}
	})
}

func TestDiff(t *testing.T) {
	list := func(keys ...layout.Key) listing {
		return func(yield func(layout.Info, error) bool) {
			for _, key := range keys {
				if key == "!" {
					yield(layout.Info{}, io.ErrUnexpectedEOF)
					return
				}
				if !yield(layout.Info{Key: key}, nil) {
					return
				}
			}
		}
	}
	const a, b, c = "index.html", "nix-cache-info", "robots.txt"
	for _, x := range []struct {
		src, dst listing
		want     string
	}{
		{list(), list(), ""},
		{list(a, b), list(a, b), "=index.html =nix-cache-info"},
		{list(a, c), list(b), "+index.html -nix-cache-info +robots.txt"},
		{list(".foreign", a), list("zzz"), "+index.html"},
		{list(b, a), list(), "+nix-cache-info error"},
		{list(a, a), list(), "+index.html error"},
		{list(a, "!"), list(a), "=index.html error"},
		{list(), list("!"), "error"},
	} {
		var got []string
		for p, err := range diff(x.src, x.dst) {
			switch {
			case err != nil:
				got = append(got, "error")
			case p.inSrc && p.inDst:
				got = append(got, "="+string(p.key))
			case p.inSrc:
				got = append(got, "+"+string(p.key))
			default:
				got = append(got, "-"+string(p.key))
			}
		}
		if diff := cmp.Diff(x.want, strings.Join(got, " ")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(100_000)
		start := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if n, err := io.Copy(io.Discard, l.reader(t.Context(), bytes.NewReader(make([]byte, 125_000)))); n != 125_000 || err != nil {
					t.Error(n, err)
				}
			})
		}
		body := l.body(t.Context(), layout.Bytes(bytes.Repeat([]byte("x"), 500_000)))
		if n, err := io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size())); n != 500_000 || err != nil {
			t.Error(n, err)
		}
		all.Wait()
		if took := time.Since(start); took < 9*time.Second || took > 11*time.Second {
			t.Errorf("a million bytes at 100 kB/s took %v", took)
		}
	})
	var none *limiter
	if err := none.pass(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}

func TestGraph(t *testing.T) {
	for _, c := range []struct {
		name string
		refs map[int32][]int32
		out  []int32 // left out from the start
		want string
	}{
		{"nothing", nil, nil, "[] left out []"},
		{"a chain", map[int32][]int32{2: {1}, 1: {0}}, nil, "[[0] [1] [2]] left out []"},
		{"a diamond", map[int32][]int32{3: {1, 2}, 1: {0}, 2: {0}}, nil, "[[0] [1 2] [3]] left out []"},
		{"a circle, and one that leans on it", map[int32][]int32{0: {1}, 1: {2}, 2: {0}, 3: {1}, 4: {}}, nil, "[[4]] left out [2 1 0 3]"},
		{"one is missing", map[int32][]int32{2: {1}, 1: {0}, 3: {}}, []int32{0}, "[[3]] left out [1 2]"},
	} {
		n := 0
		for i, refs := range c.refs {
			n = max(n, int(i)+1)
			for _, ref := range refs {
				n = max(n, int(ref)+1)
			}
		}
		g := newGraph(n)
		for i := range n {
			g.refs[i] = c.refs[int32(i)]
			g.state[i].Store(nodeReady)
		}
		for _, i := range c.out {
			g.state[i].Store(nodeOut)
		}
		left := []int32{}
		levels := g.arrange(func(node, _ int32) { left = append(left, node) })
		if got := fmt.Sprintf("%v left out %v", levels, left); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// A chain of references may be long.
	const long = 300_000
	g := newGraph(long)
	for i := range long {
		g.state[i].Store(nodeReady)
		if i > 0 {
			g.refs[long-1-i] = []int32{int32(long - i)}
		}
	}
	if levels := g.arrange(nil); len(levels) != long || levels[0][0] != long-1 {
		t.Errorf("%d levels", len(levels))
	}
}
