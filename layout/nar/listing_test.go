package nar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const testLimit = 1 << 20

// list returns the listing of a NAR as ListingWriter writes it, and the same built
// in memory.
func list(t *testing.T, nar []byte) (string, *Node) {
	t.Helper()
	var ls bytes.Buffer
	w, b := NewListingWriter(&ls), new(builder)
	if err := errors.Join(parse(nar, 0, Visitors(w, b)), w.Close()); err != nil {
		t.Fatal(err)
	}
	return ls.String(), b.root
}

// TestListingStored does without Nix what TestListingLikeNix does with it, with what
// Nix 2.8 wrote, and looks at every narOffset.
func TestListingStored(t *testing.T) {
	stored, err := os.ReadFile("testdata/kinds-nix-2.8.ls")
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseListing(bytes.NewReader(stored), testLimit)
	if err != nil {
		t.Fatal(err)
	}
	nar := testdata(t)["kinds.nar"]
	_, got := list(t, nar)
	if !EqualListing(got, want) {
		t.Errorf("listing differs from Nix's (-want +got):\n%s", cmp.Diff(want, got))
	}
	for _, f := range kinds(true) {
		n := got
		for name := range strings.SplitSeq(f.Path, "/") {
			if n = n.Entries[name]; n == nil {
				t.Fatalf("%q is not listed", f.Path)
			}
		}
		if f.Kind != n.Type || f.Target != n.Target || f.Mode&0o100 != 0 != n.Executable ||
			f.Kind == TypeRegular && string(nar[n.NarOffset:][:n.Size]) != f.Body {
			t.Errorf("%q is listed as %+v", f.Path, n)
		}
	}
}

// TestListingWriter pins the bytes.
func TestListingWriter(t *testing.T) {
	file := words("nix-archive-1", "(", "type", "regular", "contents", "hi", ")")
	named := func(name string) []byte {
		return inDir(entryNamed(name, "(", "type", "symlink", "target", name, ")"))
	}
	symlink := func(s string) string {
		return `{"root":{"entries":{"` + s + `":{"target":"` + s + `","type":"symlink"}},"type":"directory"},"version":1}`
	}
	tests := []struct {
		name string
		nar  []byte
		want string
	}{
		{"file", file, `{"root":{"executable":false,"narOffset":96,"size":2,"type":"regular"},"version":1}`},
		{"empty directory", inDir(), `{"root":{"entries":{},"type":"directory"},"version":1}`},
		{"sample", sampleNAR(), `{"root":{"entries":{` +
			`"a":{"executable":false,"narOffset":232,"size":5,"type":"regular"},` +
			`"b":{"executable":true,"narOffset":456,"size":10,"type":"regular"},` +
			`"dir":{"entries":{"eight":{"executable":false,"narOffset":792,"size":8,"type":"regular"},` +
			`"empty":{"entries":{},"type":"directory"},` +
			`"none":{"executable":false,"narOffset":1152,"size":0,"type":"regular"}},"type":"directory"},` +
			`"link":{"target":"dir/eight","type":"symlink"}},"type":"directory"},"version":1}`},
		{"text", named("é <&>\u2028\U0001F600\x7f"), symlink("é <&>\u2028\U0001F600\x7f")},
		{"escapes", named("\"\\\b\f\n\r\t\x01\x1f"), symlink(`\"\\\b\f\n\r\t\u0001\u001f`)},
		{"bytes", named("a\xff\xfeb\xe9"), symlink("a\uFFFD\uFFFDb\uFFFD")},
		{"surrogate", named("\xed\xa0\x80"), symlink("\uFFFD\uFFFD\uFFFD")},
		{"replacement itself", named("\uFFFD"), symlink("\uFFFD")},
	}
	for _, tt := range tests {
		got, built := list(t, tt.nar)
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
		parsed, err := ParseListing(strings.NewReader(got), testLimit)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(parsed, built); diff != "" {
			t.Errorf("%s: parsed and built differ:\n%s", tt.name, diff)
		}
		var again bytes.Buffer
		w := NewListingWriter(&again)
		if err := errors.Join(parsed.Walk(w), w.Close()); err != nil || again.String() != got {
			t.Errorf("%s: walked: %v\n got %s\nwant %s", tt.name, err, &again, got)
		}
	}
}

func TestListingRandomTrees(t *testing.T) {
	for seed := range uint64(20) {
		var nar bytes.Buffer
		if err := Dump(t.Context(), &nar, write(t, randomTree(rand.New(rand.NewPCG(seed, 1))))); err != nil {
			t.Fatal(err)
		}
		ls, built := list(t, nar.Bytes())
		parsed, err := ParseListing(strings.NewReader(ls), testLimit)
		if err != nil || !EqualListing(parsed, built) {
			t.Errorf("seed %d: %v, or listing and tree differ:\n%s", seed, err, cmp.Diff(built, parsed))
		}
	}
}

func TestListingWriterErrors(t *testing.T) {
	if err := NewListingWriter(io.Discard).Close(); err == nil {
		t.Error("Close took an empty listing")
	}
	w := NewListingWriter(io.Discard)
	w.Enter("")
	if err := w.Close(); err == nil {
		t.Error("Close took half a listing")
	}
	w = NewListingWriter(badWriter{io.ErrClosedPipe})
	w.Symlink("", "x")
	if err := w.Close(); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Close = %v, want the error of the writer", err)
	}
}

// doc encloses a node in a listing.
func doc(node string) string { return `{"version":1,"root":` + node + `}` }

func TestParseListingAccepts(t *testing.T) {
	file := &Node{Type: TypeRegular, Size: 3, NarOffset: 96}
	tests := []struct {
		name, ls string
		want     *Node
	}{
		{"Nix 2.8 order", doc(`{"type":"regular","size":3,"narOffset":96}`), file},
		{"Nix 2.26 order", `{"root":{"narOffset":96,"size":3,"type":"regular"},"version":1}`, file},
		{"Nix 2.35", `{"root":{"executable":false,"narOffset":96,"size":3,"type":"regular"},"version":1}`, file},
		{"white space", " {\n\"version\" : 1 , \"root\": {\"size\":3,\"narOffset\":96,\t\"type\":\"regular\"} }\n\n", file},
		{"unknown keys", `{"later":[{"a":[1,null]},"}"],"version":1,"root":{"x":{},"type":"regular","size":3,"y":1.5e9,"narOffset":96}}`, file},
		{"executable", doc(`{"type":"regular","size":3,"executable":true}`), &Node{Type: TypeRegular, Size: 3, Executable: true}},
		{"type last", doc(`{"entries":{"l":{"target":"t","type":"symlink"}},"type":"directory"}`),
			&Node{Type: TypeDirectory, Entries: map[string]*Node{"l": {Type: TypeSymlink, Target: "t"}}}},
		{"not UTF-8, as Nix 2.8 wrote it", doc("{\"type\":\"symlink\",\"target\":\"t\xe9\xff\"}"), &Node{Type: TypeSymlink, Target: "t\uFFFD\uFFFD"}},
		{"names that JSON cannot tell apart", doc("{\"type\":\"directory\",\"entries\":{\"\xfe\":{\"type\":\"symlink\",\"target\":\"1\"},\"\xff\":{\"type\":\"symlink\",\"target\":\"2\"}}}"),
			&Node{Type: TypeDirectory, Entries: map[string]*Node{"\uFFFD": {Type: TypeSymlink, Target: "2"}}}},
		{"long name of replaced bytes", doc(`{"type":"directory","entries":{"` + strings.Repeat("\uFFFD", MaxName) + `":{"type":"directory","entries":{}}}}`),
			&Node{Type: TypeDirectory, Entries: map[string]*Node{strings.Repeat("\uFFFD", MaxName): {Type: TypeDirectory, Entries: map[string]*Node{}}}}},
	}
	for _, tt := range tests {
		for _, r := range []io.Reader{strings.NewReader(tt.ls), iotest.OneByteReader(strings.NewReader(tt.ls))} {
			got, err := ParseListing(r, int64(len(tt.ls)))
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			} else if !EqualListing(got, tt.want) {
				t.Errorf("%s (-want +got):\n%s", tt.name, cmp.Diff(tt.want, got))
			}
		}
	}
}

// nestedListing returns a listing of n directories inside one another.
func nestedListing(n int) string {
	const open, end = `{"type":"directory","entries":{`, `}}`
	return doc(strings.Repeat(open+`"d":`, n-1) + open + end + strings.Repeat(end, n-1))
}

func TestParseListingRefuses(t *testing.T) {
	dir := func(entries string) string { return doc(`{"type":"directory","entries":{` + entries + `}}`) }
	const link = `{"type":"symlink","target":"t"}`
	tests := []struct{ name, ls, says string }{
		{"nothing", ``, "unexpected end"},
		{"not JSON", `<html>`, "invalid character"},
		{"array", `[]`, "expected an object"},
		{"null", `null`, "expected an object"},
		{"no version", `{"root":` + link + `}`, "version 1"},
		{"version 2", `{"version":2,"root":` + link + `}`, "version 1"},
		{"version as text", `{"version":"1","root":` + link + `}`, `"version" cannot be "1"`},
		{"two versions", `{"version":1,"version":1,"root":` + link + `}`, "twice"},
		{"no root", `{"version":1}`, "no root"},
		{"two roots", `{"root":` + link + `,"version":1,"root":` + link + `}`, "twice"},
		{"Root", `{"version":1,"Root":` + link + `}`, "no root"},
		{"trailing", doc(link) + "{}", "after top-level value"},
		{"trailing brace", doc(link) + "}", "invalid character"},
		{"cut", doc(link)[:40], "unexpected end"},
		{"null root", doc(`null`), "expected an object"},
		{"null node", dir(`"a":null`), "expected an object"},
		{"text for a node", dir(`"a":"b"`), "expected an object"},
		{"no type", doc(`{"size":1}`), "without a type"},
		{"unknown type", doc(`{"type":"socket"}`), "unknown type"},
		{"null type", doc(`{"type":null}`), `"type" cannot be`},
		{"two types", doc(`{"type":"symlink","type":"symlink","target":"t"}`), "twice"},
		{"no entries", doc(`{"type":"directory"}`), `without "entries"`},
		{"null entries", doc(`{"type":"directory","entries":null}`), "expected an object"},
		{"two entries", doc(`{"type":"directory","entries":{},"entries":{}}`), "twice"},
		{"no target", doc(`{"type":"symlink"}`), `without "target"`},
		{"no size", doc(`{"type":"regular"}`), `without "size"`},
		{"size of a directory", doc(`{"type":"directory","entries":{},"size":1}`), `directory node with "size"`},
		{"target of a file", doc(`{"target":"t","type":"regular","size":1}`), `regular node with "target"`},
		{"negative size", doc(`{"type":"regular","size":-1}`), `cannot be -1`},
		{"fraction", doc(`{"type":"regular","size":1.5}`), `cannot be 1.5`},
		{"exponent", doc(`{"type":"regular","size":1e3}`), `cannot be 1e3`},
		{"huge size", doc(`{"type":"regular","size":9223372036854775808}`), "cannot be"},
		{"end overflows", doc(`{"type":"regular","size":9223372036854775807,"narOffset":1}`), "out of range"},
		{"executable as a number", doc(`{"type":"regular","size":1,"executable":1}`), `"executable" cannot be 1`},
		{"empty name", dir(`"":` + link), "illegal name"},
		{"dot", dir(`".":` + link), "illegal name"},
		{"dots", dir(`"..":` + link), "illegal name"},
		{"slash", dir(`"a/b":` + link), "illegal name"},
		{"NUL", dir(`"a\u0000":` + link), "illegal name"},
		{"long name", dir(`"` + strings.Repeat("n", MaxName+1) + `":` + link), "illegal name"},
		{"name twice", dir(`"a":` + link + `,"a":` + link), "twice"},
		{"empty target", doc(`{"type":"symlink","target":""}`), "illegal target"},
		{"long target", doc(`{"type":"symlink","target":"` + strings.Repeat("t", MaxTarget+1) + `"}`), "illegal target"},
		{"too deep", nestedListing(MaxDepth + 1), "directories inside one another"},
		{"much too deep", nestedListing(20_000), "max depth"},
		{"deep unknown value", `{"x":` + strings.Repeat("[", 50_000), "max depth"},
	}
	for _, tt := range tests {
		n, err := ParseListing(strings.NewReader(tt.ls), 1<<20)
		if err == nil || n != nil || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 300 {
			t.Errorf("%s: ParseListing = %v, %v, want an error saying %q", tt.name, n, err, tt.says)
		}
	}
	if _, err := ParseListing(strings.NewReader(nestedListing(MaxDepth)), 1<<20); err != nil {
		t.Errorf("deepest listing: %v", err)
	}
}

func TestParseListingLimit(t *testing.T) {
	ls := doc(`{"type":"symlink","target":"t"}`)
	size := int64(len(ls))
	for _, limit := range []int64{-1, 0, 1, size - 1} {
		if _, err := ParseListing(strings.NewReader(ls), limit); err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("limit %d of %d: %v", limit, size, err)
		}
	}
	if _, err := ParseListing(strings.NewReader(ls), 1<<63-1); err != nil {
		t.Error(err)
	}
	endless := io.MultiReader(strings.NewReader(ls), strings.NewReader(strings.Repeat(" ", 1<<16)))
	if _, err := ParseListing(endless, size+100); err == nil {
		t.Error("white space beyond the limit was taken")
	}
	_, err := ParseListing(io.MultiReader(strings.NewReader(ls[:20]), iotest.ErrReader(errVisit)), size)
	if !errors.Is(err, errVisit) {
		t.Errorf("ParseListing = %v, want the reader's error", err)
	}
}

func TestEqualListing(t *testing.T) {
	parse := func(node string) *Node {
		n, err := ParseListing(strings.NewReader(doc(node)), testLimit)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	inDir := func(name, node string) string {
		return fmt.Sprintf(`{"type":"directory","entries":{%q:%s}}`, name, node)
	}
	const link = `{"type":"symlink","target":"t"}`
	different := []string{
		link, `{"type":"symlink","target":"u"}`, `{"type":"directory","entries":{}}`,
		inDir("a", link), inDir("b", link), inDir("a", inDir("a", link)),
		`{"type":"regular","size":1}`, `{"type":"regular","size":2}`,
		`{"type":"regular","size":1,"executable":true}`, `{"type":"regular","size":1,"narOffset":96}`,
	}
	for i, a := range different {
		for j, b := range different {
			if got := EqualListing(parse(a), parse(b)); got != (i == j) {
				t.Errorf("EqualListing(%s, %s) = %v", a, b, got)
			}
		}
		if EqualListing(parse(a), nil) || EqualListing(nil, parse(a)) {
			t.Errorf("%s equals nil", a)
		}
	}
	if !EqualListing(nil, nil) {
		t.Error("nil does not equal nil")
	}
}
