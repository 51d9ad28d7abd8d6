//go:build real

package browser

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestScreenshots draws the pages as a desk, a phone and a printer show them, in light
// and dark. `make screenshots` keeps the pictures.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	w := newWorld(t)
	w.program.Run(t, "page", "-q", w.dir, "--title", "Example cache", "--url", "https://cache.example.org").Want(t, 0)
	url := w.serve(t)
	b := openTab(t)
	git := w.store.Named(t, "git-2")
	for _, shot := range []struct {
		name, page, wait string
		width            int64
		dark             bool
	}{
		{"index", "", `!document.querySelector("form.search").hidden`, 1000, false},
		{"index-dark", "", `!document.querySelector("form.search").hidden`, 1000, true},
		{"index-phone", "", `!document.querySelector("form.search").hidden`, 390, false},
		{"path", "path.html#" + hashOf(git), `document.querySelector(".tree")`, 1000, false},
		{"path-dark", "path.html#" + hashOf(git), `document.querySelector(".tree")`, 1000, true},
		{"file-phone", "path.html#" + hashOf(git) + "/usr/bin/git-shell", `document.querySelector(".tree")`, 390, false},
		{"absent", "none", `document.querySelector("h1")`, 1000, false},
	} {
		scheme := "light"
		if shot.dark {
			scheme = "dark"
		}
		b.run(t, emulation.SetDeviceMetricsOverride(shot.width, 1100, 1, shot.width < 500),
			emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		b.open(t, url+shot.page)
		b.until(t, shot.wait)
		wide := js[int64](t, b, `document.documentElement.scrollWidth`)
		if wide > shot.width {
			t.Errorf("%s: it is %d wide", shot.name, wide)
		}
		var png []byte
		b.run(t, chromedp.CaptureScreenshot(&png))
		write(t, filepath.Join(dir, shot.name+".png"), png)
	}
	var pdf []byte
	b.open(t, url)
	b.run(t, chromedp.ActionFunc(func(ctx context.Context) (err error) { pdf, _, err = page.PrintToPDF().Do(ctx); return err }))
	write(t, filepath.Join(dir, "index.pdf"), pdf)
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if len(data) < 1000 {
		t.Errorf("%s has %d bytes", file, len(data))
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
