package nar

import (
	"bytes"
	"errors"
	"os"
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
