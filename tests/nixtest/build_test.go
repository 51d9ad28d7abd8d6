package nixtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// Tests of another program than the one that is shipped prove nothing.
func TestBuildFlags(t *testing.T) {
	makefile, err := os.ReadFile(Source(t, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("CGO_ENABLED=0 $(GO) build %s %s '%s$(stamp)' -o bin/nixstatic ./cmd/nixstatic",
		buildFlags[0], buildFlags[1], buildFlags[2])
	if !strings.Contains(string(makefile), want) {
		t.Errorf("the Makefile has no line %q", want)
	}
}
