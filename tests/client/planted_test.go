//go:build real

package client_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestEveryFaultIsPlanted: the tests plant every fault that the doctor has a name for,
// and docs/clients.md has all of these names and no others.
func TestEveryFaultIsPlanted(t *testing.T) {
	read := func(pattern string) (text string) {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			text += string(b)
		}
		return text
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`\b(?:fail|warn)\(\s*"([a-z0-9-]+)"`).FindAllStringSubmatch(read(nixtest.Source(t, "sync/doctor")+"/*.go"), -1) {
		named[m[1]] = true
	}
	if len(named) < 60 {
		t.Fatalf("only %d names found in the source", len(named))
	}
	tests := read("*_test.go")
	for name := range named {
		if !strings.Contains(tests, `"`+name+`"`) {
			t.Errorf("no test plants %s", name)
		}
	}
	_, table, _ := strings.Cut(read(nixtest.Source(t, "docs/clients.md")), "| check | faults |")
	table, _, _ = strings.Cut(table, "\n\n")
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z0-9-]+)`").FindAllStringSubmatch(table, -1) {
		told[m[1]] = true
	}
	delete(told, "--deep")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(told))); diff != "" {
		t.Errorf("docs/clients.md (-source +docs):\n%s", diff)
	}
}
