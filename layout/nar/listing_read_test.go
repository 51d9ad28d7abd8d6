package nar

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// readListing refuses all that ParseListing refuses, but for names that stand
// twice.
func TestReadListingRefuses(t *testing.T) {
	const link = `{"type":"symlink","target":"t"}`
	for _, ls := range []string{
		``, `<html>`, `[]`, `null`, `{"root":` + link + `}`, `{"version":2,"root":` + link + `}`, `{"version":"1","root":` + link + `}`,
		`{"version":1,"version":1,"root":` + link + `}`, `{"version":1}`, `{"root":` + link + `,"version":1,"root":` + link + `}`,
		doc(link) + "{}", doc(link) + "}", doc(link) + " x", doc(link)[:40], doc(`null`), doc(`{"size":1}`), doc(`{"type":"socket"}`),
		doc(`{"type":"directory"}`), doc(`{"type":"directory","entries":null}`), doc(`{"type":"regular","size":-1}`),
		doc(`{"type":"symlink","target":"t","entries":{}}`), doc(`{"type":"directory","entries":{"..":` + link + `}}`),
		doc(`{"type":"directory","entries":{},"entries":{}}`), nestedListing(MaxDepth + 1),
		doc(link[:len(link)-1] + `,"x":` + strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1) + `}`),
	} {
		_, err := readListing(strings.NewReader(ls), Discard{})
		if bad := (*BadListing)(nil); !errors.As(err, &bad) || len(err.Error()) > 300 {
			t.Errorf("%.60s: %v", ls, err)
		}
	}
	if _, err := readListing(strings.NewReader(nestedListing(MaxDepth)), Discard{}); err != nil {
		t.Errorf("deepest listing: %v", err)
	}
	broken := io.MultiReader(strings.NewReader(doc(link)[:20]), iotest.ErrReader(errVisit))
	if _, err := readListing(broken, Discard{}); err != errVisit {
		t.Errorf("got %v, want the reader's error", err)
	}
	if _, err := readListing(strings.NewReader(doc(link)), NewListingWriter(fullDisk{})); err != nil {
		t.Errorf("what is only buffered failed: %v", err)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errVisit }

// However a listing is blown up, to compare it takes no memory for it.
func TestSameListingIsBounded(t *testing.T) {
	const link = `{"target":"t","type":"symlink"}`
	ours := doc(link)
	endless := func(s string) io.Reader { return io.MultiReader(strings.NewReader(ours[:1]), &repeated{s: s}) }
	for name, r := range map[string]io.Reader{
		"blanks": endless(" "), "a long key": io.MultiReader(strings.NewReader(`{"`), &repeated{s: "k"}),
		"many keys": endless(`"k":"` + strings.Repeat("x", 1000) + `",`), "deep": io.MultiReader(strings.NewReader(`{"k":`), &repeated{s: "["}),
		"blanks at the end": io.MultiReader(strings.NewReader(ours), &repeated{s: "\n"}),
		"a long number":     io.MultiReader(strings.NewReader(`{"k":`), &repeated{s: "1"}),
		"many entries":      io.MultiReader(strings.NewReader(`{"root":{"entries":{`), &repeated{s: `"a":` + link + `,`}),
	} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		most, reads := uint64(0), 0
		watched := readerFunc(func(p []byte) (int, error) {
			n, err := r.Read(p)
			if reads++; reads%100 == 0 {
				runtime.ReadMemStats(&after)
			}
			if after.HeapAlloc > before.HeapAlloc {
				most = max(most, after.HeapAlloc-before.HeapAlloc)
			}
			return n, err
		})
		same, err := SameListing(io.LimitReader(watched, 12<<20), strings.NewReader(ours), "")
		if same || most > 8<<20 {
			t.Errorf("%s: %v, %v, with %d bytes of memory", name, same, err, most)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A repeated is a text over and over.
type repeated struct {
	s    string
	rest string
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.rest == "" {
			r.rest = r.s
		}
		m := copy(p[n:], r.rest)
		n, r.rest = n+m, r.rest[m:]
	}
	return n, nil
}

func TestSameListing(t *testing.T) {
	dir := func(entries string) string { return doc(`{"type":"directory","entries":{` + entries + `}}`) }
	const link, other = `{"type":"symlink","target":"t"}`, `{"target":"u","type":"symlink"}`
	listings := []string{doc(link), doc(other), dir(``), dir(`"a":` + link), dir(`"a":` + link + `,"b":` + other), dir(`"b":` + link),
		doc(`{"type":"regular","size":1}`), doc(`{"type":"regular","size":1,"executable":true}`), doc(`{"type":"regular","size":1,"narOffset":96}`)}
	ours := make([]string, len(listings))
	for i, ls := range listings {
		var out bytes.Buffer
		w := NewListingWriter(&out)
		n, err := ParseListing(strings.NewReader(ls), testLimit)
		if err == nil {
			err = errors.Join(n.Walk(w), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		ours[i] = out.String()
	}
	for i, ls := range listings {
		for j, our := range ours {
			for _, r := range []io.Reader{strings.NewReader(ls), iotest.OneByteReader(strings.NewReader(" " + ls + "\n"))} {
				if same, err := SameListing(r, strings.NewReader(our), ""); same != (i == j) || err != nil {
					t.Errorf("SameListing(%s, %s) = %v, %v", ls, our, same, err)
				}
			}
		}
		if same, err := SameListing(strings.NewReader(ls), strings.NewReader(ours[i]+" "), ""); same || err != nil {
			t.Errorf("with a blank more than we write: %v, %v", same, err)
		}
		if _, err := SameListing(strings.NewReader(ls), io.MultiReader(strings.NewReader(ours[i][:9]), iotest.ErrReader(errVisit)), ""); err != errVisit {
			t.Errorf("got %v, want the reader's error", err)
		}
	}
}
