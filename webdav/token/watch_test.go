package token

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/webdav"
)

// A change shows at the next request; a broken file changes nothing and is told of
// once.
func TestTokenFileReloads(t *testing.T) {
	f := newFixture(t)
	token, secret := newToken(t, "new", webdav.Upload, time.Time{})
	if err := Add(f.file, token); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 200 {
		t.Errorf("a new token: %d", got)
	}
	if err := Revoke(f.file, "upload"); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", f.upload)); got != 401 {
		t.Errorf("a revoked token: %d", got)
	}
	// An edit in place that keeps the length, and the time as tools do that make
	// images.
	epoch := time.Unix(1, 0)
	if err := os.Chtimes(f.file, epoch, epoch); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 200 {
		t.Errorf("before the edit: %d", got)
	}
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), "new upload ", "new read   ", 1)
	time.Sleep(20 * time.Millisecond) // the clock of the file system ticks
	if err := errors.Join(os.WriteFile(f.file, []byte(edited), 0o600), os.Chtimes(f.file, epoch, epoch)); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 403 {
		t.Errorf("after an edit: %d", got)
	}
	if err := os.WriteFile(f.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 200 {
		t.Errorf("after the edit was undone: %d", got)
	}
	f.log.Reset()
	if err := os.WriteFile(f.file, []byte("new upload\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 200 {
			t.Errorf("with a broken file: %d", got)
		}
	}
	if err := os.Remove(f.file); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 200 {
			t.Errorf("without the file: %d", got)
		}
	}
	if n := strings.Count(f.log.String(), "level=ERROR"); n != 2 {
		t.Errorf("%d errors in the log, want one for each state of the file:\n%s", n, f.log)
	}
	if err := os.WriteFile(f.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := status(t, f.auth, webdav.Upload, basic("x", secret)); got != 401 {
		t.Errorf("with an empty file: %d", got)
	}
}

// A file that comes after the server is read as well; one that cannot be read
// keeps the server from starting.
func TestTokenFileComesLater(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	tokens, err := OpenFile(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	token, secret := newToken(t, "ci", webdav.Upload, time.Time{})
	if err := Add(file, token); err != nil {
		t.Fatal(err)
	}
	if _, ok := tokens.find(secret); !ok {
		t.Error("it is not known")
	}
	if err := os.WriteFile(file, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(file, nil); err == nil {
		t.Error("a broken file was opened")
	}
}
