package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A public server that reads a cache behind a login tells of that, without the password.
func TestWarnOfLogin(t *testing.T) {
	netrc := filepath.Join(t.TempDir(), "netrc")
	if err := os.WriteFile(netrc, []byte("machine private.example.org login me password hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NETRC", netrc)
	for url, warns := range map[string]bool{
		"https://private.example.org":           true,
		"https://you:hunter2@other.example.org": true,
		"https://cache.nixos.org":               false,
		"file:///srv/cache":                     false,
		"s3://bucket":                           false,
	} {
		var out bytes.Buffer
		warnOfLogin(slog.New(slog.NewTextHandler(&out, nil)), url, "the upstream")
		if got := strings.Contains(out.String(), "the upstream"); got != warns {
			t.Errorf("%s: %q", url, &out)
		}
		if strings.Contains(out.String(), "hunter2") {
			t.Errorf("the log has a password: %q", &out)
		}
	}
}
