package httpcache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/sync/webtest"
)

func TestNetrcLimit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(name, []byte(strings.Repeat("# long\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open("https://h", Options{Netrc: name})
	webtest.WantError(t, err, "more than 1048576 bytes")
}
