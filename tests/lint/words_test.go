package lint

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// ours are words of this project for what Nix calls a cache and a narinfo.
var ours = regexp.MustCompile(`\b([Tt]rees?|[Rr]ecords?)\b`)

// TestWords holds that people meet the words of Nix: in helps, messages and answers of
// servers a tree is a cache, and a record is a narinfo.
func TestWords(t *testing.T) {
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "tests/") ||
			strings.HasPrefix(file, "layout/treetest/") || strings.HasPrefix(file, "sync/webtest/") {
			continue
		}
		ast.Inspect(parse(t, file, nil), func(node ast.Node) bool {
			lit, ok := node.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			// A word alone is a name, such as a field of JSON.
			if err == nil && strings.Contains(text, " ") && !strings.Contains(text, `json:"`) && ours.MatchString(text) {
				t.Errorf("%s: say cache or narinfo: %q", file, text)
			}
			return true
		})
	}
}
