package sync

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
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

// TestShelf: what was put on a shelf is found, whether it fits memory or not.
func TestShelf(t *testing.T) {
	const record, key = 5, 4
	number := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	for _, n := range []int{0, 1, 2, blockBytes / record, blockBytes/record + 1, 10_000, scratchInMemory/record + 1, 200_000} {
		s := newShelf(t.TempDir(), record, key)
		defer s.close()
		for i := range n {
			s.add(append(number(2*i+1), byte(i)))
		}
		if err := s.seal(); err != nil {
			t.Fatal(err)
		}
		if inFile := s.file != nil; inFile != (n*record >= scratchInMemory) {
			t.Errorf("%d records in a file: %v", n, inFile)
		}
		for i := 0; i <= n; i += max(1, n/1000) {
			if at, err := s.find(number(2*i + 1)); err != nil || at != i && (i < n || at != -1) {
				t.Fatalf("%d of %d is found at %d, %v", i, n, at, err)
			}
			if at, err := s.find(number(2 * i)); err != nil || at != -1 {
				t.Fatalf("what is not among %d is found at %d, %v", n, at, err)
			}
		}
		next := 0
		for record, err := range s.all() {
			if err != nil || record.i != next || !bytes.Equal(record.bytes, append(number(2*next+1), byte(next))) {
				t.Fatalf("%d of %d: %v, %v", next, n, record, err)
			}
			next++
		}
		if next != n || s.len() != n {
			t.Errorf("%d of %d", next, n)
		}
	}
	full := newShelf("/dev/null/nowhere", record, key)
	for i := range 200_000 {
		full.add(append(number(i), 0))
	}
	if err := full.seal(); !errors.As(err, new(*spoolError)) {
		t.Errorf("no room: %v", err)
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
		g := newGraph(n, t.TempDir())
		defer g.close()
		for i := range int32(n) {
			state := nodeReady
			if slices.Contains(c.out, i) {
				state = nodeOut
			}
			g.add(state, c.refs[i], nil)
		}
		if err := g.seal(); err != nil {
			t.Fatal(err)
		}
		left := []int32{}
		levels, err := g.arrange(func(node, _ int32) { left = append(left, node) })
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%v left out %v", levels, left); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// A chain of references may be long.
	const long = 300_000
	g := newGraph(long, t.TempDir())
	defer g.close()
	for i := range int32(long) {
		refs := []int32{i + 1}
		if i == long-1 {
			refs = nil
		}
		g.add(nodeReady, refs, fmt.Append(nil, i))
	}
	if err := g.seal(); err != nil {
		t.Fatal(err)
	}
	if g.kept.file == nil {
		t.Error("all of it is in memory")
	}
	if levels, err := g.arrange(nil); err != nil || len(levels) != long || levels[0][0] != long-1 {
		t.Errorf("%d levels, %v", len(levels), err)
	}
	if refs, text, err := g.recall(12345); err != nil || !slices.Equal(refs, []int32{12346}) || string(text) != "12345" {
		t.Errorf("recalled %d, %q, %v", refs, text, err)
	}
}
