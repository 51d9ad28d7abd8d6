// Package lint holds the rules about the source that no compiler knows.
package lint

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/nixstatic/nixstatic"
	root   = "../.."
)

// own is the whole import table of this module: what each package may import of
// the others. A package that is not here does not belong to the house yet.
var own = map[string][]string{
	"signer":          {},
	"layout/nar":      {},
	"layout/compress": {},
	"layout/share":    {},
	"layout/recent":   {},
	"layout":          {"signer", "layout/nar", "layout/compress", "layout/parallel", "layout/share"},
	"layout/fsck":     append([]string{"layout/gc", "layout/parallel"}, onLayout...),
	"layout/adopt":    append([]string{"layout/fsck", "layout/gc", "layout/lock", "layout/parallel"}, onLayout...),
	"layout/bundle":   {"layout", "layout/parallel", "signer"},
	"layout/inbox":    onLayout,
	"layout/seek":     append([]string{"layout/parallel"}, onLayout...),
	"layout/treetest": onLayout,
	"layout/gc":       append([]string{"layout/lock", "layout/parallel", "layout/refgraph", "layout/roots", "layout/uses"}, onLayout...),
	"layout/uses":     {"layout", "layout/refgraph"},
	"layout/roots":    {"layout", "layout/refgraph", "layout/share"},
	"layout/lock":     {"layout"},
	"layout/pages":    {"layout", "layout/parallel", "signer"},
	"layout/parallel": {},
	"layout/refgraph": {"layout"},
	"sync/nixstore":   onLayout,
	"sync/s3":         append([]string{"sync/internal/netx", "sync/s3/awsconfig"}, onLayout...),
	// It reads the files of other programs, and knows nothing of trees.
	"sync/s3/awsconfig": {},
	"sync/httpcache":    {"layout", "layout/compress", "sync/internal/netx", "sync/nixconf"},
	// It reads and edits the files of Nix, which it locks as trees lock theirs, and
	// contacts nothing.
	"sync/nixconf": {"layout"},
	// It looks at caches and at this machine, and changes nothing.
	"sync/doctor": {"layout", "layout/compress", "layout/parallel", "signer", "sync/internal/netx", "sync/nixconf", "sync/nixstore"},
	// It asks for the identity of a CI job, and shows it.
	"sync/runner": {"sync/internal/netx"},
	// Clients of servers, whatever the servers are for.
	"sync/internal/netx": {"layout/compress"},
	"sync/forge":         {"layout", "sync/httpcache"},
	"sync/export":        append([]string{"layout/recent", "sync/httpcache"}, onLayout...),
	"sync/mirror":        append([]string{"layout/gc", "layout/lock", "layout/parallel", "layout/refgraph"}, onLayout...),
	// It imports nothing that takes time: a hook of Nix waits for it.
	"sync/queue/intake":      {},
	"cmd/nixstatic/hook":     {"sync/queue/intake"},
	"sync/queue":             {"sync/queue/intake"},
	"sync/watch":             {"layout", "sync/mirror"},
	"webdav":                 append([]string{"layout/inbox", "layout/recent"}, onLayout...),
	"webdav/token":           {"layout", "layout/share", "webdav"},
	"webdav/oidc":            {"layout", "webdav", "webdav/token"},
	"webdav/metrics":         {"layout", "layout/inbox", "webdav", "webdav/through"},
	"webdav/upstream":        {"layout", "layout/recent", "layout/share", "signer", "webdav"},
	"webdav/through":         {"layout", "layout/compress", "layout/inbox", "layout/share", "signer", "webdav", "webdav/upstream"},
	"cmd/nixstatic/terminal": {},
	"cmd/nixstatic": append([]string{"cmd/nixstatic/hook", "cmd/nixstatic/terminal", "sync/queue", "layout/adopt", "layout/bundle", "layout/fsck", "layout/gc", "layout/inbox", "layout/lock", "layout/pages", "layout/parallel", "layout/roots", "layout/uses", "layout/seek",
		"webdav", "webdav/metrics", "webdav/oidc", "webdav/token", "webdav/through", "webdav/upstream",
		"sync/doctor", "sync/export", "sync/forge", "sync/httpcache", "sync/mirror", "sync/nixconf", "sync/nixstore", "sync/runner", "sync/s3", "sync/watch"}, onLayout...),

	// The testing ground shares no code with what it tests.
	"sync/webtest":      {"layout", "layout/treetest"},
	"tests/peers":       {},
	"tests/gitea":       {},
	"tests/minio":       {},
	"tests/nixtest":     {"tests/peers"},
	"tests/browser":     {},
	"tests/compose":     {},
	"tests/closure":     {},
	"tests/quick":       {},
	"tests/synthetic":   {},
	"tests/bench/pair":  {},
	"tests/bench/names": {},
	"tests/bench/bare":  {},
	// It writes trees.
	"tests/bench/prune": {},
	// It measures the steps of our own pipeline.
	"tests/bench/bound": onLayout,
}

var onLayout = []string{"layout", "layout/nar", "layout/compress", "layout/share", "signer"}

// forTests is what test files may import beyond the table: the suite every tree
// passes, the checker that is the oracle, and the real programs. Whole-program
// tests have folders of their own, under tests/ and examples/, and may import
// anything.
var forTests = []string{"layout/fsck", "layout/treetest", "sync/httpcache", "sync/webtest", "tests/gitea", "tests/minio", "tests/nixtest", "tests/peers", "tests/quick"}

// searched is what the search over the orders of operations sets against a package.
var searched = map[string][]string{"layout/gc": {"layout/inbox", "sync/export"}}

// others says which packages may use a module that is heavy, or that one package
// exists to hide. A prefix covers all packages below it; no packages means none.
// Test files may use them to check ours against theirs.
var others = map[string][]string{
	"github.com/minio/minio-go":     {"sync/s3"},
	"golang.org/x/net/webdav":       {"webdav", "sync/webtest"},
	"github.com/prometheus":         {"webdav/metrics"},
	"github.com/coreos/go-systemd":  {"cmd/nixstatic"},
	"github.com/fsnotify/fsnotify":  {"sync/watch"},
	"github.com/coreos/go-oidc":     {"webdav/oidc"},
	"github.com/go-jose/go-jose":    {"webdav/oidc"},
	"github.com/urfave/cli":         {"cmd/nixstatic"},
	"modernc.org/sqlite":            {"sync/doctor", "sync/nixstore"},
	"github.com/klauspost/compress": {"layout/compress", "tests/bench/bound"},
	"github.com/andybalholm/brotli": {"layout/compress"},
	"github.com/mikelolasagasti/xz": {"layout/compress"},
	"github.com/ulikunitz/xz":       {"layout/compress"},
	"github.com/dsnet/compress":     {"layout/compress"},
	"github.com/pierrec/lz4":        {"layout/compress"},
	// The binary is static: no C.
	"C": {},
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, file := range sources(t) {
		pkg := path.Dir(file)
		inTest := strings.HasSuffix(file, "_test.go")
		allowed, known := own[pkg]
		wholeProgram := !known && (strings.HasPrefix(pkg+"/", "tests/") || strings.HasPrefix(pkg, "examples/"))
		if !inTest && !known {
			t.Errorf("%s: package %s is not in the import table", file, pkg)
			continue
		}
		seen[pkg] = true
		for _, imported := range imports(t, file) {
			if name, ours := strings.CutPrefix(imported, module+"/"); ours {
				ok := name == pkg || slices.Contains(allowed, name) ||
					inTest && (wholeProgram || slices.Contains(forTests, name) || slices.Contains(searched[pkg], name))
				if !ok {
					t.Errorf("%s: %s may not import %s", file, pkg, name)
				}
			} else if !inTest && !mayUse(pkg, imported) {
				t.Errorf("%s: %s may not import %s", file, pkg, imported)
			}
		}
	}
	// A table that outlives its packages stops meaning anything.
	for pkg := range own {
		if !seen[pkg] {
			t.Errorf("the import table names %s, which has no Go files", pkg)
		}
	}
}

func mayUse(pkg, imported string) bool {
	for prefix, users := range others {
		if imported == prefix || strings.HasPrefix(imported, prefix+"/") {
			return slices.Contains(users, pkg)
		}
	}
	return true
}

// sources lists the Go files of this module relative to its root, for every
// platform: an import that only Windows sees is an import.
func sources(t *testing.T) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			switch base := entry.Name(); {
			case rel == ".":
			case strings.HasPrefix(base, "."), base == "testdata", rel == "tests/tools":
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") {
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files")
	}
	return files
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(file)), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, imported)
	}
	return paths
}
