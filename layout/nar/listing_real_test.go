//go:build real

package nar

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestListingLikeNix(t *testing.T) {
	root := write(t, append(kinds(true), file{"exec", TypeRegular, 0o755, "#!", ""}))
	for _, path := range []string{root, root + "/a", root + "/exec", root + "/dangling", root + "/empty", root + "/a-b"} {
		want, err := ParseListing(bytes.NewReader(nixListing(t, path)), testLimit)
		if err != nil {
			t.Fatalf("%s: Nix's listing: %v", path, err)
		}
		ls, built := list(t, nixDump(t, path))
		got, err := ParseListing(strings.NewReader(ls), testLimit)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, got := range []*Node{got, built} {
			if !EqualListing(got, want) {
				t.Errorf("%s: listing differs from Nix's (-want +got):\n%s", path, cmp.Diff(want, got))
			}
		}
	}
}
