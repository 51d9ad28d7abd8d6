package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// removers are the functions that may delete an object of a tree, and why.
// Everything else goes through layout/gc, which knows what leads to an object.
var removers = map[string]string{
	"layout/gc/remove.go Remove":                      "the door",
	"layout/gc/sweep_paths.go withdrawTurn":           "the door, while no writer is publishing",
	"layout/gc/sweep_rest.go reclaimTurn":             "the door, while no writer is publishing",
	"layout/gc/sweep_rest.go forget":                  "a private key: a record whose time is over",
	"layout/gc/fenced.go tidy":                        "private keys: lists and notes of rounds that are over",
	"layout/gc/runs.go note":                          "a private key: what a run of long ago did",
	"layout/gc/pins.go editPinOnce":                   "a pin, which nothing leads to",
	"layout/gc/setaside.go dropAside":                 "the door, while no writer is publishing: the bytes are in the quarantine",
	"layout/gc/setaside.go PutBack":                   "a private key: the copy of what is back at its place",
	"layout/pages/keeper.go drop":                     "a part of the search index that nothing names any more",
	"layout/abilities.go DeleteBatch":                 "it forwards",
	"layout/dir.go Delete":                            "it forwards",
	"layout/lock/lease.go giveBack":                   "a private key: its own lease",
	"layout/inbox/settle.go drop":                     "a private key: a narinfo that waits no more",
	"layout/inbox/pieces.go dropPieces":               "a private key: pieces of a NAR that are needed no more",
	"layout/add_listing.go withdrawListing":           "a listing that this process put a moment ago, of a record that it could not publish",
	"sync/forge/registry.go Put":                      "a registry has no other way to replace a file",
	"sync/forge/registry.go Delete":                   "it forwards",
	"sync/s3/probe.go Probe":                          "a private key: its own probe",
	"layout/treetest/faulty.go Delete":                "it forwards",
	"layout/treetest/faulty_abilities.go DeleteBatch": "it forwards",
	"layout/treetest/late.go Delete":                  "it forwards",
	"layout/treetest/late.go DeleteBatch":             "it forwards",
	"layout/treetest/turns.go Delete":                 "it forwards",
	"layout/treetest/contents.go Withdraw":            "for tests",
	"sync/webtest/put.go PutServer":                   "for tests",
}

// TestRemovalHasOneDoor finds calls of a tree's Delete: a method of that name with
// a context and a key.
func TestRemovalHasOneDoor(t *testing.T) {
	found := map[string]bool{}
	set := token.NewFileSet()
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") || strings.HasPrefix(file, "layout/treetest/suite") || strings.HasPrefix(file, "tests/") {
			continue
		}
		parsed, err := parser.ParseFile(set, filepath.Join(root, filepath.FromSlash(file)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			for _, at := range deletes(fn) {
				who := file + " " + fn.Name.Name
				found[who] = true
				if removers[who] == "" {
					t.Errorf("%s: %s removes an object: use layout/gc", strings.TrimPrefix(fmt.Sprint(set.Position(at)), root+"/"), fn.Name.Name)
				}
			}
		}
	}
	for who := range removers {
		if !found[who] {
			t.Errorf("the list names %s, which removes nothing", who)
		}
	}
}

// deletes returns where a function calls x.Delete(ctx, key), x being no package of
// the library, or x.DeleteBatch(ctx, …).
func deletes(fn *ast.FuncDecl) (at []token.Pos) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if ok && sel.Sel.Name == "DeleteBatch" {
			at = append(at, call.Pos())
		} else if ok && sel.Sel.Name == "Delete" && len(call.Args) == 2 {
			if x, ok := sel.X.(*ast.Ident); !ok || x.Name != "maps" && x.Name != "slices" {
				at = append(at, call.Pos())
			}
		}
		return true
	})
	return at
}

// TestDeletesAreFound shows that each form of the call is recognised.
func TestDeletesAreFound(t *testing.T) {
	const source = `package p
func f() {
	tree.Delete(ctx, key)
	_ = w.Tree.Delete(r.Context(), "x")
	go func() { b.Delete(ctx, heldKey(hash)) }()
	slices.Delete(list, 1, 2)
	layout.DeleteBatch(ctx, tree, keys)
	delete(m, key)
	header.Delete("x")
}`
	parsed, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(deletes(parsed.Decls[0].(*ast.FuncDecl))); got != 4 {
		t.Errorf("%d calls found, want 4", got)
	}
}
