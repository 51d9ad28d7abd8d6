package layout_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// The names of narinfos are told each once, of a directory that takes several readings
// and has names of all lengths.
func TestNarInfoKeys(t *testing.T) {
	base := t.TempDir()
	var want []layout.Key
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(base, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5000 {
		key := layout.Key(fmt.Sprintf("%032d.narinfo", i))
		want = append(want, key)
		write(string(key))
	}
	for i := range 255 {
		write(strings.Repeat("x", i+1))
	}
	const hash = "0123456789abcdfghijklmnpqrsvwxyz"
	for _, name := range []string{hash + ".ls", hash + ".narinfO", hash + ".narinfo.", hash + "xnarinfo", strings.ToUpper(hash) + ".narinfo", strings.Repeat("e", 32) + ".narinfo", strings.Repeat("\xff", 32) + ".narinfo"} {
		write(name)
	}
	var got []layout.Key
	for key, err := range layout.NarInfoKeys(t.Context(), openDir(t, base)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
