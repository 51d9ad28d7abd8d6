package lint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDependencies holds that each module that go.mod requires for our own code
// has a row in docs/dependencies.md, with what it is for and why it was chosen,
// and that the table names no other.
func TestDependencies(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(read("docs/dependencies.md")) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || !strings.Contains(cells[1], ".") {
			continue
		}
		module := strings.TrimSpace(cells[1])
		rows[module] = false
		if strings.TrimSpace(cells[2]) == "" || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("docs/dependencies.md does not say what %s is for, or why it was chosen", module)
		}
	}
	for line := range strings.Lines(read("go.mod")) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) != 2 || !strings.Contains(fields[0], ".") || !strings.HasPrefix(fields[1], "v") {
			continue // an indirect one has a comment
		}
		if _, known := rows[fields[0]]; !known {
			t.Errorf("docs/dependencies.md has no reason for %s", fields[0])
		}
		rows[fields[0]] = true
	}
	if len(rows) < 10 {
		t.Errorf("only %d modules were found: the table has another form", len(rows))
	}
	for module, required := range rows {
		if !required {
			t.Errorf("docs/dependencies.md names %s, which go.mod does not require", module)
		}
	}
}
