//go:build real

package compress

import (
	"testing"
)

func TestXzProgramIsUsed(t *testing.T) {
	if note := XzNote(); note != "" {
		t.Fatalf("%s (the tests need it too)", note)
	}
}
