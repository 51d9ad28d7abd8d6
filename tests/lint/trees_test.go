package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// trees are the types that are trees or can do something as trees can.
var trees = []string{"Reader", "Lister", "Tree", "TopLister", "RangeReader", "BatchPutter", "Flusher", "Spool",
	"BatchDeleter", "Copier", "Fenced", "Gater", "LeftoverTree", "NameLister", "NarInfoLister", "URLReader",
	"Dir", "Bucket", "HTTP", "WebDAV", "PutServer"}

// abilities are the methods that a tree may have beyond those of a Tree.
var abilities = []string{"List", "ListTop", "OpenRange", "PutBatch", "Flush", "Create", "Sweep", "Traits",
	"AssumeOneWriter", "CopyObject", "DeleteBatch", "Gate", "Leftovers", "ListNames", "NarInfoKeys", "OpenURL", "ProveFence"}

// TestAbilities finds packages that ask by themselves what a tree can do. If
// they did, a tree that wraps another one would lose what the other can do, and
// faults that tests inject never reach it. Package layout has a function for
// each ability, and TraitsOf for decisions about cost.
func TestAbilities(t *testing.T) {
	files := map[string]*ast.File{}
	asks := slices.Clone(trees)
	set := token.NewFileSet()
	for _, file := range sources(t) {
		if path.Dir(file) == "layout" || strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = parsed
		ast.Inspect(parsed, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && ofTree(spec.Type, trees) {
				asks = append(asks, spec.Name.Name)
			}
			return true
		})
	}
	for _, parsed := range files {
		for _, found := range assertions(parsed, asks) {
			t.Errorf("%s: asks what a tree can do: use the functions of package layout", strings.TrimPrefix(fmt.Sprint(set.Position(found)), root+"/"))
		}
	}
}

// TestAbilitiesAreFound shows that each form of the question is recognised.
func TestAbilitiesAreFound(t *testing.T) {
	const source = `package p
func f() {
	_, _ = x.(layout.TopLister)
	_, _ = x.(*layout.Dir)
	_, _ = x.(*PutServer)
	_, _ = x.(interface{ Traits() layout.Traits })
	_, _ = x.(interface{ layout.Reader; Else() })
	switch x.(type) { case nil, layout.Spool: }
	switch y := x.(type) { case *s3.Bucket: _ = y }
	_, _ = x.(io.ReaderAt)
	_, _ = x.(layout.SpoolFile)
	_, _ = x.(interface{ Stat() })
}`
	parsed, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := len(assertions(parsed, trees)); found != 7 {
		t.Errorf("%d of 7 questions are found", found)
	}
}

// assertions returns where a file asserts one of the named types, or an
// interface of that kind.
func assertions(file *ast.File, names []string) (found []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeAssertExpr:
			if n.Type != nil && (isNamed(n.Type, names) || ofTree(n.Type, names)) {
				found = append(found, n.Pos())
			}
		case *ast.TypeSwitchStmt:
			for _, clause := range n.Body.List {
				for _, typ := range clause.(*ast.CaseClause).List {
					if isNamed(typ, names) || ofTree(typ, names) {
						found = append(found, typ.Pos())
					}
				}
			}
		}
		return true
	})
	return found
}

// ofTree reports whether a type is an interface that has an ability or embeds
// one of the named types.
func ofTree(typ ast.Expr, names []string) bool {
	face, ok := typ.(*ast.InterfaceType)
	return ok && slices.ContainsFunc(face.Methods.List, func(field *ast.Field) bool {
		if len(field.Names) == 0 {
			return isNamed(field.Type, names)
		}
		return slices.Contains(abilities, field.Names[0].Name)
	})
}

func isNamed(typ ast.Expr, names []string) bool {
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if selector, ok := typ.(*ast.SelectorExpr); ok {
		typ = selector.Sel
	}
	name, ok := typ.(*ast.Ident)
	return ok && slices.Contains(names, name.Name)
}
