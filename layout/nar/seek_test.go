package nar

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const seekLink = `{"target":"t","type":"symlink"}`

// withSeek returns a listing of a symbolic link, as a ListingWriter writes it, with
// that value of "seek".
func withSeek(value string) string {
	return `{"root":` + seekLink + `,"seek":` + value + `,"version":1}`
}

func TestSeekStored(t *testing.T) {
	seek := &Seek{File: "sha256:abc", Frames: []Frame{{5, 10}, {1, 0}}}
	var out bytes.Buffer
	w := NewListingWriter(&out)
	w.Symlink("", "t")
	w.Seek = seek
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if want := withSeek(`{"file":"sha256:abc","frames":[[5,10],[1,0]]}`); out.String() != want {
		t.Errorf("got  %s\nwant %s", out.String(), want)
	}
	for _, ls := range []string{out.String(), ` {"seek": {"later":1, "frames":[ [5, 10],[1,0]], "file":"sha256:abc"}, "version":1,"root":` + seekLink + "}\n"} {
		_, got, err := ParseSeekable(strings.NewReader(ls), 1<<20)
		if diff := cmp.Diff(seek, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", ls, err, diff)
		}
	}
	if file, nar := seek.Total(); file != 6 || nar != 10 {
		t.Errorf("total %d, %d", file, nar)
	}
}

func TestSeekRefused(t *testing.T) {
	for _, value := range []string{
		`null`, `1`, `"x"`, `[]`, `{}`, `{"file":"f"}`, `{"frames":[]}`, `{"file":"","frames":[]}`, `{"file":1,"frames":[]}`, `{"file":null,"frames":[]}`,
		`{"file":"f","frames":null}`, `{"file":"f","frames":{}}`, `{"file":"f","frames":[null]}`, `{"file":"f","frames":[[1]]}`, `{"file":"f","frames":[[1,2,3]]}`,
		`{"file":"f","frames":[[0,1]]}`, `{"file":"f","frames":[[-1,1]]}`, `{"file":"f","frames":[[1,-1]]}`, `{"file":"f","frames":[[1.5,1]]}`,
		`{"file":"f","frames":[["1",1]]}`, `{"file":"f","frames":[[9223372036854775807,1],[1,1]]}`, `{"file":"f","frames":[[1,9223372036854775808]]}`,
		`{"file":"f","frames":[[1,9223372036854775807],[1,1]]}`, `{"file":"` + strings.Repeat("f", maxFile+1) + `","frames":[]}`,
		`{"file":"f","frames":[` + strings.Repeat(`[1,1],`, MaxFrames) + `[1,1]]}`, `{"file":"f","frames":[]}` + `,"seek":{"file":"f","frames":[]}`,
		`{"file":"f",` + strings.Repeat(" ", maxSeek) + `"frames":[]}`,
	} {
		ls := withSeek(value)
		if _, _, err := ParseSeekable(strings.NewReader(ls), 1<<30); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.80s: parsed, %v", value, err)
		}
		_, err := readListing(strings.NewReader(ls), Discard{})
		if bad := (*BadListing)(nil); !errors.As(err, &bad) || len(err.Error()) > 300 {
			t.Errorf("%.80s: read, %v", value, err)
		}
	}
	most := withSeek(`{"file":"f","frames":[` + strings.Repeat(`[1,1],`, MaxFrames-1) + `[1,1]]}`)
	if _, seek, err := ParseSeekable(strings.NewReader(most), 1<<30); err != nil || len(seek.Frames) != MaxFrames {
		t.Errorf("as many frames as there may be: %v", err)
	}
	if _, err := readListing(strings.NewReader(most), Discard{}); err != nil {
		t.Errorf("as many frames as there may be: %v", err)
	}
}

// A listing with frames is the same as ours if they are right or of another file.
func TestSameListingWithFrames(t *testing.T) {
	frames := func(file, list string) string { return fmt.Sprintf(`{"file":%q,"frames":[%s]}`, file, list) }
	none, right := `{"root":`+seekLink+`,"version":1}`, withSeek(frames("f", "[1,2],[3,4]"))
	for _, c := range []struct {
		name, theirs, ours string
		want               bool
	}{
		{"the same", right, right, true},
		{"none, as of Nix", none, right, true},
		{"of another file", withSeek(frames("g", "[5,6],[7,8]")), right, true},
		{"a single one", withSeek(frames("f", "[5,6]")), right, true},
		{"wrong sizes", withSeek(frames("f", "[1,2],[3,5]")), right, false},
		{"one too few", withSeek(frames("f", "[1,2],[3,4],[5,6]")), right, false},
		{"where ours has none", right, none, false},
		{"of another file, where ours has none", withSeek(frames("g", "[5,6],[7,8]")), none, true},
		{"another root", strings.Replace(right, `"t"`, `"u"`, 1), right, false},
		{"another root, longer", strings.Replace(right, `"t"`, `"tt"`, 1), right, false},
	} {
		same, err := SameListing(strings.NewReader(c.theirs), strings.NewReader(c.ours), "f")
		if err != nil || same != c.want {
			t.Errorf("%s: %v, %v", c.name, same, err)
		}
	}
}
