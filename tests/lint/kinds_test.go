package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// TestFoldersHaveOnePlace: the names of the folders of a tree are in the table of kinds,
// and in no second list. A new folder would not be in that.
func TestFoldersHaveOnePlace(t *testing.T) {
	if len(layout.PublicFolders) < 7 {
		t.Fatalf("only %v are known", layout.PublicFolders)
	}
	set := token.NewFileSet()
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "tests/") || file == "layout/kind.go" || path.Dir(file) == "layout/treetest" {
			continue
		}
		parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			folder, isFolder := strings.CutSuffix(text, "/")
			if isFolder && slices.Contains(layout.PublicFolders, folder) {
				t.Errorf("%s: %q is a name in the table of kinds: use that", strings.TrimPrefix(fmt.Sprint(set.Position(lit.Pos())), root+"/"), text)
			}
			return true
		})
	}
}
