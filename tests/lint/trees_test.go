package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bodies are the interfaces of package layout that are not about abilities of trees.
var bodies = []string{"Body", "SpoolFile", "Lent", "Lender", "Summed", "Wrapper"}

// The abilities are what package layout asks trees for, by its function Ability.
type abilities struct {
	names   []string // of the interfaces of layout about trees, and of all trees
	methods []string // of the interfaces that are asked for
}

// findAbilities reads what layout asks for, and which types are trees.
func findAbilities(t *testing.T, files map[string]*ast.File, at func(token.Pos) string) *abilities {
	t.Helper()
	a := &abilities{}
	faces := map[string]*ast.InterfaceType{}
	gets := map[string]bool{}
	for name, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if face, ok := n.Type.(*ast.InterfaceType); ok && path.Dir(name) == "layout" {
					faces[n.Name.Name] = face
					if !slices.Contains(bodies, n.Name.Name) {
						a.names = append(a.names, n.Name.Name)
					}
				}
			case *ast.FuncDecl:
				if n.Recv != nil && n.Name.Name == "Get" && len(n.Type.Params.List) == 2 && n.Type.Results.NumFields() == 3 {
					gets[receiver(n)] = true
				}
			}
			return true
		})
	}
	a.names = slices.AppendSeq(a.names, maps.Keys(gets))
	for name, file := range files {
		if path.Dir(name) != "layout" {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if index, ok := n.(*ast.IndexExpr); ok && isNamed(index.X, []string{"Ability"}) {
				face, _ := index.Index.(*ast.InterfaceType)
				if id, ok := index.Index.(*ast.Ident); ok {
					face = faces[id.Name]
				}
				if face == nil {
					t.Fatalf("%s: what interface is asked for?", at(n.Pos()))
				}
				for _, method := range face.Methods.List {
					for _, id := range method.Names {
						a.methods = append(a.methods, id.Name)
					}
				}
			}
			return true
		})
	}
	return a
}

func isInterface(typ ast.Expr) bool {
	_, is := typ.(*ast.InterfaceType)
	return is
}

func receiver(fn *ast.FuncDecl) string {
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	id, ok := typ.(*ast.Ident)
	if !ok {
		return ""
	}
	return id.Name
}

func parseAll(t *testing.T) (files map[string]*ast.File, at func(token.Pos) string) {
	t.Helper()
	files = map[string]*ast.File{}
	set := token.NewFileSet()
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[file] = parsed
	}
	return files, func(pos token.Pos) string { return strings.TrimPrefix(fmt.Sprint(set.Position(pos)), root+"/") }
}

// TestAbilities finds code that asks by itself what a tree can do. If it did, a tree
// that wraps another one would lose what the other can do, and faults that tests
// inject never reach it. Package layout has a function for each ability, and TraitsOf
// for decisions about cost.
func TestAbilities(t *testing.T) {
	files, at := parseAll(t)
	asked := findAbilities(t, files, at)
	names := slices.Clone(asked.names)
	for name, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok && path.Dir(name) != "layout" && ofTree(spec.Type, names, asked.methods) {
				names = append(names, spec.Name.Name)
			}
			return true
		})
	}
	for name, file := range files {
		for _, found := range assertions(file, names, asked.methods) {
			t.Errorf("%s: asks what a tree can do: use the functions of package layout, and Ability in there", at(found))
		}
		if dir := path.Dir(name); dir == "layout/treetest" {
			continue
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if ask, ok := n.(*ast.TypeAssertExpr); ok && path.Dir(name) == "layout" && isInterface(ask.Type) {
				t.Errorf("%s: an ability of a tree? Ability finds it", at(n.Pos()))
			}
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Ability" && isNamed(sel.X, []string{"layout"}) {
				t.Errorf("%s: Ability is for trees that wrap others: use the function of that ability", at(n.Pos()))
			}
			return true
		})
	}
}

// TestFaultyForwards: the tree that fails on purpose has the methods of every ability,
// so that faults reach all that production does.
func TestFaultyForwards(t *testing.T) {
	files, at := parseAll(t)
	asked := findAbilities(t, files, at)
	if len(asked.methods) < 20 {
		t.Errorf("only %d methods are found", len(asked.methods))
	}
	has := map[string]bool{}
	for name, file := range files {
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && path.Dir(name) == "layout/treetest" && fn.Recv != nil && receiver(fn) == "Faulty" {
				has[fn.Name.Name] = true
			}
		}
	}
	for _, method := range append(asked.methods, "Below") {
		if !has[method] {
			t.Errorf("treetest.Faulty lacks the method %s: no fault ever reaches that ability", method)
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
	if found := len(assertions(parsed, []string{"TopLister", "Dir", "PutServer", "Reader", "Spool", "Bucket"}, []string{"Traits"})); found != 7 {
		t.Errorf("%d of 7 questions are found", found)
	}
}

// assertions returns where a file asserts one of the named types, or an
// interface of that kind.
func assertions(file *ast.File, names, methods []string) (found []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeAssertExpr:
			if n.Type != nil && (isNamed(n.Type, names) || ofTree(n.Type, names, methods)) {
				found = append(found, n.Pos())
			}
		case *ast.TypeSwitchStmt:
			for _, clause := range n.Body.List {
				for _, typ := range clause.(*ast.CaseClause).List {
					if isNamed(typ, names) || ofTree(typ, names, methods) {
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
func ofTree(typ ast.Expr, names, methods []string) bool {
	face, ok := typ.(*ast.InterfaceType)
	return ok && slices.ContainsFunc(face.Methods.List, func(field *ast.Field) bool {
		if len(field.Names) == 0 {
			return isNamed(field.Type, names)
		}
		return slices.Contains(methods, field.Names[0].Name)
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
