//go:build real

package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Texts stand out from what is behind them, in light and dark.
const faint = `(() => {
	const parse = (c) => (c.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; } return [255, 255, 255]; };
	const bad = [];
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.disabled) continue;
		const a = light(parse(getComputedStyle(e).color)), b = light(behind(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) bad.push(e.tagName + "." + e.className + " " + ratio.toFixed(2) + ": " + e.textContent.slice(0, 30));
	}
	return bad;
})()`

// All that can be pressed or filled in has a name.
const nameless = `[...document.querySelectorAll("a[href], button, input, summary, progress")].filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.getAttribute("aria-label"))).map((e) => e.outerHTML)`

// TestAccess reads the pages as people do who see little, use no mouse, or have a small phone.
func TestAccess(t *testing.T) {
	w := newWorld(t)
	url := w.serve(t)
	b := openTab(t)
	for _, page := range []struct{ path, ready string }{
		{"index.html", `!document.querySelector("form.search").hidden`},
		{"path.html#" + hashOf(w.store.Top), `document.querySelector(".tree summary") && document.querySelector("dl .good")`},
		{"path.html#" + hashOf(w.hostile) + "/folder/__proto__", `document.querySelector("#file button.main")`},
	} {
		for _, theme := range []string{"light", "dark"} {
			b.run(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}))
			b.open(t, url+page.path)
			b.until(t, page.ready)
			if bad := js[[]string](t, b, faint); len(bad) > 0 {
				t.Errorf("%s, %s: hard to read: %q", page.path, theme, bad)
			}
		}
		if bad := js[[]string](t, b, nameless); len(bad) > 0 {
			t.Errorf("%s: without a name: %q", page.path, bad)
		}
		if n := js[int](t, b, `document.querySelectorAll("main").length + document.querySelectorAll("h1").length + document.querySelectorAll("[role=search]").length`); n != 3 {
			t.Errorf("%s: %d landmarks", page.path, n)
		}
		// Every fold open, on the narrowest of phones.
		b.run(t, chromedp.EmulateViewport(320, 640))
		js[bool](t, b, `(document.querySelectorAll("details").forEach((d) => { d.removeAttribute("name"); d.open = true; }), true)`)
		if width := js[int](t, b, `document.documentElement.scrollWidth`); width > 320 {
			wide := js[[]string](t, b, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 321 && !e.closest("pre, .wide")).map((e) => e.tagName + "." + e.className + " " + e.textContent.slice(0, 30))`)
			t.Errorf("%s is %d wide: %q", page.path, width, wide)
		}
		b.run(t, chromedp.EmulateViewport(1100, 900))
	}
	// From the search by keys alone to a path, whose heading is then where reading goes on.
	b.open(t, url+"path.html#"+hashOf(w.hostile))
	b.until(t, `document.querySelector("h1").textContent === "evil"`)
	b.query(t, "valgrind")
	b.until(t, `document.querySelectorAll("#hits a").length > 0`)
	b.run(t, chromedp.KeyEvent(kb.ArrowDown))
	b.until(t, `document.activeElement.closest("#hits")`)
	b.run(t, chromedp.KeyEvent("\r"))
	b.until(t, fmt.Sprintf(`location.hash === "#%s" && document.activeElement.id === "name"`, hashOf(w.store.Named(t, "valgrind"))))
	b.untroubled(t)
}
