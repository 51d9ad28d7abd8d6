package export

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/sync/webtest"
)

// TestCacheRecords edits the record of one path.
func TestCacheRecords(t *testing.T) {
	tree := treetest.NewMem(t)
	closure := treetest.Populate(t, tree)
	p := closure.Named("lib")
	key := layout.NarInfoKey(p.Info.Path)
	text, err := webtest.Get(t.Context(), tree, key)
	if err != nil {
		t.Fatal(err)
	}
	self := string(p.Info.Path)
	for _, test := range []struct {
		name     string
		from, to string
		fails    string // Infos
	}{
		{"another path", self, string(closure.Named("app").Info.Path), "it is the narinfo of " + string(closure.Named("app").Info.Path)},
		{"another name", self, self + "-2", "it is the narinfo of lib-2"},
		{"another store", "StorePath: /nix/store/", "StorePath: /gnu/store/", "line 1: StorePath: "},
		{"cut off", "\n", "", "no newline"},
		{"empty", string(text), "", "no StorePath field"},
		{"too long", "StorePath", "X: " + strings.Repeat("x", layout.MaxNarInfo) + "\nStorePath", "more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := tree.Clone(t)
			edited := strings.Replace(string(text), test.from, test.to, 1)
			if test.name == "cut off" {
				edited = strings.TrimSuffix(string(text), "\n")
			}
			bad.Damage(key, func([]byte) []byte { return []byte(edited) })
			eachReader(t, bad, func(t *testing.T, c *Cache) {
				_, err := c.Infos(t.Context(), []layout.StorePath{p.Info.Path})
				webtest.WantError(t, err, string(p.Info.Path), test.fails)
				if errors.Is(err, fs.ErrNotExist) {
					t.Error("counts as absent")
				}
			})
		})
	}
}
