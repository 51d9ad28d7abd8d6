//go:build real

package e2e_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A record is a narinfo as any reader of its lines would see it. The tests have
// a reader of their own, since ours is among what they test.
type record map[string][]string

func parseRecord(t testing.TB, name, text string) record {
	t.Helper()
	r := record{}
	for line := range strings.Lines(text) {
		field, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%s: the line %q is no field", name, line)
		}
		r[field] = append(r[field], value)
	}
	slices.Sort(r["Sig"])
	return r
}

func readRecord(t testing.TB, tree, path string) record {
	t.Helper()
	name := filepath.Join(tree, hashPart(path)+".narinfo")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parseRecord(t, name, string(text))
}

// one returns the value of a field that is there once, "" if it is not there.
func (r record) one(t testing.TB, field string) string {
	t.Helper()
	switch values := r[field]; len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	default:
		t.Fatalf("narinfo with %d fields %s", len(values), field)
		return ""
	}
}

// of returns some fields alone.
func (r record) of(fields ...string) record {
	some := record{}
	for _, field := range fields {
		if values, ok := r[field]; ok {
			some[field] = values
		}
	}
	return some
}

// signedBy returns the names of the keys that signed, sorted.
func (r record) signedBy() (names []string) {
	for _, sig := range r["Sig"] {
		name, _, _ := strings.Cut(sig, ":")
		names = append(names, name)
	}
	return names
}

// readJSON reads a file of JSON into plain values.
func readJSON(t testing.TB, name string) any {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// A snapshot is every file of a tree that people may see, with its bytes.
type snapshot map[string]string

func snap(t testing.TB, tree string) snapshot {
	t.Helper()
	s := snapshot{}
	err := filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		if name == ".nixstatic" {
			return filepath.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		text, err := os.ReadFile(path)
		s[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names returns the names of the files whose names end so, sorted.
func (s snapshot) names(suffix string) (names []string) {
	for name := range s {
		if strings.HasSuffix(name, suffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
