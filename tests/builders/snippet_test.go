//go:build real

package builders_test

import (
	"os"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// snippet returns the first block of code below a heading of docs/ci.md, with words of it
// replaced.
func snippet(t testing.TB, heading string, oldnew ...string) string {
	t.Helper()
	return snippetAfter(t, heading+"\n", oldnew...)
}

// snippetAfter returns the first block of code after a text of docs/ci.md.
func snippetAfter(t testing.TB, after string, oldnew ...string) string {
	t.Helper()
	text, err := os.ReadFile(nixtest.Source(t, "docs/ci.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), after)
	_, rest, begins := strings.Cut(rest, "\n```")
	block, _, ends := strings.Cut(rest, "\n```")
	_, block, _ = strings.Cut(block, "\n")
	if !found || !begins || !ends {
		t.Fatalf("docs/ci.md has no code after %q", after)
	}
	for i := 0; i < len(oldnew); i += 2 {
		if !strings.Contains(block, oldnew[i]) {
			t.Fatalf("docs/ci.md: the code after %q has no %q:\n%s", after, oldnew[i], block)
		}
	}
	return strings.NewReplacer(oldnew...).Replace(block) + "\n"
}
