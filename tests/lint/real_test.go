package lint

import (
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// grounds are the packages that start real programs for tests.
var grounds = []string{module + "/tests/minio", module + "/tests/nixtest", module + "/tests/peers"}

// TestReal holds that `make unit` needs Go and nothing else: a test that starts
// another program has the build tag real, and its file says so in its name.
// Packages of nothing but such tests, under tests/, need no such names.
func TestReal(t *testing.T) {
	for _, file := range sources(t) {
		if !strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed := parse(t, file, nil)
		tagged, named := needsTag(parsed, "real"), strings.HasSuffix(file, "_real_test.go")
		if named && !tagged {
			t.Errorf("%s: lacks //go:build real", file)
		}
		if tagged && !named && !strings.HasPrefix(file, "tests/") {
			t.Errorf("%s: has the build tag real and is not named _real_test.go", file)
		}
		if why := otherProgram(parsed); why != "" && !tagged {
			t.Errorf("%s: %s, and lacks //go:build real", file, why)
		}
		for _, skip := range skips(parsed) {
			t.Errorf("%s: calls %s: a test that did not run has proved nothing", file, skip)
		}
	}
}

// TestRealIsFound shows that TestReal sees what it is to see.
func TestRealIsFound(t *testing.T) {
	for source, want := range map[string]string{
		"package p": "",
		"package p\nimport \"" + grounds[0] + "\"":                            "imports " + grounds[0],
		"package p\nimport \"os/exec\"\nfunc f() { exec.LookPath(name) }":     "calls exec.LookPath",
		"package p\nfunc f() { exec.CommandContext(ctx, `nginx`) }":           "runs nginx",
		"package p\nfunc f() { exec.Command(\"nix-store\", \"--dump\") }":     "runs nix-store",
		"package p\nfunc f() { exec.Command(os.Args[0], \"-test.run=^x$\") }": "",
	} {
		if got := otherProgram(parse(t, "p_test.go", source)); got != want {
			t.Errorf("%s\n%q, want %q", source, got, want)
		}
	}
	for line, want := range map[string]bool{
		"": false, "//go:build linux": false, "//go:build linux || real": false, "//go:build !real": false,
		"//go:build real": true, "//go:build linux && real": true,
	} {
		if got := needsTag(parse(t, "p_test.go", line+"\n\npackage p"), "real"); got != want {
			t.Errorf("%q needs the tag: %v", line, got)
		}
	}
	if got := skips(parse(t, "p_test.go", "package p\nfunc f() { t.Skip(); b.SkipNow(); ts.Skipf(``); testing.Short(); s.Skipped() }")); len(got) != 4 {
		t.Errorf("found %q, want four", got)
	}
}

// parse reads a file of this module, or the source of one.
func parse(t *testing.T, file string, source any) *ast.File {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), source,
		parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// needsTag reports whether a file is built only where the tag is set.
func needsTag(file *ast.File, tag string) bool {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if comment.Pos() > file.Package || !constraint.IsGoBuild(comment.Text) {
				continue
			}
			expr, err := constraint.Parse(comment.Text)
			return err == nil && !expr.Eval(func(t string) bool { return t != tag })
		}
	}
	return false
}

// otherProgram says how a file starts a program that is not part of Go, or
// returns "" if it does not.
func otherProgram(file *ast.File) (why string) {
	for _, spec := range file.Imports {
		if path := strings.Trim(spec.Path.Value, "`\""); slices.Contains(grounds, path) {
			return "imports " + path
		}
	}
	for name, call := range calls(file) {
		var program ast.Expr
		switch name {
		case "exec.LookPath":
			return "calls exec.LookPath"
		case "exec.Command":
			program = call.Args[0]
		case "exec.CommandContext":
			program = call.Args[1]
		}
		if lit, ok := program.(*ast.BasicLit); ok {
			return "runs " + strings.Trim(lit.Value, "`\"")
		}
	}
	return ""
}

func skips(file *ast.File) (found []string) {
	for name := range calls(file) {
		switch _, method, _ := strings.Cut(name, "."); method {
		case "Skip", "Skipf", "SkipNow", "Short":
			found = append(found, name)
		}
	}
	return found
}

// calls yields the calls of a file that have the form name.name().
func calls(file *ast.File) func(yield func(string, *ast.CallExpr) bool) {
	return func(yield func(string, *ast.CallExpr) bool) {
		done := false
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || done {
				return !done
			}
			if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
				if left, ok := selector.X.(*ast.Ident); ok {
					done = !yield(left.Name+"."+selector.Sel.Name, call)
				}
			}
			return !done
		})
	}
}
