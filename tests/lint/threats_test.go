package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every limit that docs/threat-model.md promises names what holds it: a test, or a file
// or folder of tests, that is there.
func TestThreatModel(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, file := range sources(t) {
		if strings.HasSuffix(file, "_test.go") {
			source, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range function.FindAllStringSubmatch(string(source), -1) {
				tests[m[1]] = true
			}
		}
	}
	_, rest, found := strings.Cut(string(text), "| what | limit | test |\n| --- | --- | --- |\n")
	if !found {
		t.Fatal("there is no table of limits")
	}
	table, _, _ := strings.Cut(rest, "\n\n")
	quoted := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for row := range strings.Lines(table) {
		rows++
		cells := strings.Split(strings.TrimSpace(row), " | ")
		names := quoted.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if len(cells) != 3 || len(names) == 0 {
			t.Errorf("no test is named: %s", row)
		}
		for _, m := range names {
			name := m[1]
			if !strings.HasPrefix(name, "Test") {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s: %v", row, err)
				}
			} else if !tests[name] {
				t.Errorf("there is no %s: %s", name, row)
			}
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows", rows)
	}
}
