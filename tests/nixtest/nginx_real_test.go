//go:build real

package nixtest

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestServeNginx(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nix-cache-info"), []byte("StoreDir: /nix/store\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := ServeNginx(t, dir)
	response, err := http.Get(server.URL + "/nix-cache-info")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(body) != "StoreDir: /nix/store\n" {
		t.Errorf("status %s, body %q, %v", response.Status, body, err)
	}
	if diff := cmp.Diff([]string{"GET /nix-cache-info HTTP/1.1"}, server.Requests(t)); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
