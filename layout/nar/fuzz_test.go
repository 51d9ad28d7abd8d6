package nar

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzParser holds that every archive taken is canonical, and that it does not
// matter how it is cut.
func FuzzParser(f *testing.F) {
	for _, name := range []string{"sample.nar", "file.nar", "exec.nar", "link.nar"} {
		f.Add(testdata(f)[name], uint8(7))
	}
	f.Add(nested(3), uint8(100))
	f.Fuzz(func(t *testing.T, nar []byte, piece uint8) {
		whole, err := reencode(t, nar, 0)
		if err == nil && !bytes.Equal(whole, nar) {
			t.Error("an archive was taken that is not canonical")
		}
		var se *SyntaxError
		if err != nil && !errors.As(err, &se) {
			t.Errorf("error %v is no SyntaxError", err)
		}
		cut, cutErr := reencode(t, nar, max(int(piece), 1))
		if (err == nil) != (cutErr == nil) || err != nil && err.Error() != cutErr.Error() || !bytes.Equal(cut, whole) {
			t.Errorf("in pieces of %d: %v, at once: %v", piece, cutErr, err)
		}
	})
}

// FuzzReadListing holds that a listing is read as it is parsed, and that it is the
// same as what a ListingWriter makes of it, unless its entries are out of order.
func FuzzReadListing(f *testing.F) {
	stored, err := os.ReadFile("testdata/sample-nix-2.8.ls")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add([]byte(doc(`{"type":"regular","size":3,"executable":true,"narOffset":128}`)))
	f.Add([]byte(doc(`{"entries":{"b":{"target":"t","type":"symlink"},"a":{"type":"directory","entries":{}}},"type":"directory"}`)))
	f.Add([]byte(doc(`{"type":"directory","entries":{"a":{"new":[{"x":null},1e3,"y",true],"target":"b","type":"symlink"}}}`)))
	f.Add([]byte(nestedListing(3)))
	f.Add([]byte(withSeek(`{"file":"sha256:x","frames":[[1,2],[3,4]]}`)))
	f.Fuzz(func(t *testing.T, ls []byte) {
		parsed, seek, parseErr := ParseSeekable(bytes.NewReader(ls), 1<<16)
		b, order := new(builder), new(bytes.Buffer)
		w := NewListingWriter(order)
		read, readErr := readListing(bytes.NewReader(ls), Visitors(b, w))
		w.Seek = read
		if readErr == nil {
			readErr = w.Close()
		}
		if bad := (*BadListing)(nil); readErr != nil && !errors.As(readErr, &bad) {
			t.Errorf("error %v is not about the listing", readErr)
		}
		if parseErr != nil {
			if readErr == nil && !strings.Contains(parseErr.Error(), "twice") && !strings.Contains(parseErr.Error(), "longer than") {
				t.Errorf("it was read, and is not parsed: %v", parseErr)
			}
			return
		}
		if readErr != nil {
			t.Fatalf("it was parsed, and is not read: %v", readErr)
		}
		if !EqualListing(parsed, b.root) {
			t.Error("it is read as another one")
		}
		file := ""
		if seek != nil {
			file = seek.File
		}
		if !seek.Agrees(read, file) || !read.Agrees(seek, file) {
			t.Error("its frames are read as other ones")
		}
		if same, err := SameListing(bytes.NewReader(ls), bytes.NewReader(order.Bytes()), file); err != nil || !same {
			t.Errorf("it is not the same as itself: %v", err)
		}
		inOrder := new(bytes.Buffer)
		w = NewListingWriter(inOrder)
		w.Seek = seek
		if err := errors.Join(parsed.Walk(w), w.Close()); err != nil {
			t.Fatal(err)
		}
		same, err := SameListing(bytes.NewReader(ls), bytes.NewReader(inOrder.Bytes()), file)
		if err != nil || same != bytes.Equal(order.Bytes(), inOrder.Bytes()) {
			t.Errorf("the same as in order: %v, %v", same, err)
		}
	})
}

// FuzzParseListing holds that no input does harm and that every listing taken can be
// written and read again.
func FuzzParseListing(f *testing.F) {
	stored, err := os.ReadFile("testdata/sample-nix-2.8.ls")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stored)
	f.Add([]byte(doc(`{"type":"regular","size":3,"executable":true,"narOffset":128}`)))
	f.Add([]byte(`{"root":{"entries":{"a":{"target":"b","type":"symlink"}},"type":"directory"},"version":1}`))
	f.Add([]byte(nestedListing(3)))
	f.Fuzz(func(t *testing.T, ls []byte) {
		n, err := ParseListing(bytes.NewReader(ls), 1<<16)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w := NewListingWriter(&out)
		if err := errors.Join(n.Walk(w), w.Close()); err != nil {
			t.Fatal(err)
		}
		again, err := ParseListing(&out, 1<<20)
		if err != nil || !EqualListing(n, again) {
			t.Errorf("listing does not survive: %v", err)
		}
	})
}
